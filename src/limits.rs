//! Every bound that sizes memory, work or time.
//!
//! A buffer, queue, table or loop that a stranger can make grow is bounded by a constant of this
//! file; a bound that follows from others is computed here from named parts.

use std::time::Duration;

// --- The control channel -------------------------------------------------------------------

/// The largest control datagram that is accepted. Wire: wire.md section 5, accept up to 2048.
pub const CONTROL_DATAGRAM_MAX: usize = 2048;

/// The largest control datagram that is sent, so that it crosses IPv6 paths unfragmented.
pub const CONTROL_DATAGRAM_SENT: usize = 1200;

/// Unacknowledged control packets in flight. Wire: 2.6 sends 6, old receivers buffer 8.
pub const CONTROL_IN_FLIGHT: usize = 6;

/// Control packets buffered ahead of the next expected one.
pub const CONTROL_RECEIVE_WINDOW: usize = 12;

/// Acknowledgements in one packet; a packet with more is malformed.
pub const ACKS_MAX: usize = 8;

/// The shortest sealed key of a tls-crypt-v2 client: tag, key and length. Wire: wire.md section 2.5.
pub const WRAPPED_KEY_MIN: usize = 32 + 256 + 2;

/// The longest one, with its metadata.
pub const WRAPPED_KEY_MAX: usize = 1024;

/// Acknowledgements that ride on a packet with a payload.
pub const ACKS_PIGGYBACK: usize = 4;

/// One plaintext message inside TLS (key method 2 or text).
pub const CONTROL_MESSAGE_MAX: usize = 2048;

/// The options string of a key-method-2 message, with its NUL.
pub const OPTIONS_STRING_MAX: usize = 512;

/// A user's name, and a password, so that both fit into a key-method-2 message. Wire: 2.6 takes 127
/// bytes, or 4095 where it is built with PKCS#11.
pub const LOGIN_MAX: usize = 480;

/// What a client is told of a refused login, or for its user while it waits. Wire: a text message of 2.x
/// has at most 1024 bytes.
pub const AUTH_REASON_MAX: usize = 1024 - "AUTH_FAILED,\0".len();

/// Challenges that a client may answer while its login is judged; further answers are not heard.
pub const CHALLENGE_ANSWERS_MAX: u32 = 16;

/// Peer-info lines that are kept.
pub const PEER_INFO_ENTRIES_MAX: usize = 64;

/// One pushed option. Wire: OPTION_LINE_SIZE of 2.x, with its NUL.
pub const PUSH_OPTION_MAX: usize = 255;

/// One PUSH_REPLY before its continuation option. Wire: wire.md section 10.1, 1024 - 84.
pub const PUSH_MESSAGE_MAX: usize = 1024 - 84;

/// All options of a PUSH_REPLY that a client takes, over all its parts.
pub const PUSH_REPLY_MAX: usize = 256 * 1024;

/// Remarks on the options of one PUSH_REPLY; those after are not made.
pub const PUSH_WARNINGS_MAX: usize = 32;

/// TLS bytes waiting for room in the send window; a handshake flight with a long chain fits.
pub const TLS_BACKLOG_MAX: usize = 64 * 1024;

/// Messages of a configuration that a server can say to a client at once: with its NUL and what TLS
/// adds, none is longer than 1024 bytes, and a key message may still wait before them.
pub const PUSH_MESSAGES_MAX: usize = (TLS_BACKLOG_MAX - CONTROL_MESSAGE_MAX) / 1024;

/// Text messages queued before the session is established.
pub const MESSAGES_QUEUED_MAX: usize = 64;

/// Answered resets that a listener of one shard remembers.
pub const ANSWERED_RESETS: usize = 4096;

/// All certificates of a peer's chain.
pub const CHAIN_DEPTH_MAX: usize = 16;

// --- Timers of the control channel ----------------------------------------------------------

/// First retransmission of a control packet; doubles each time.
pub const RETRANSMIT_FIRST: Duration = Duration::from_secs(2);

/// No retransmission waits longer than this.
pub const RETRANSMIT_MAX: Duration = Duration::from_secs(16);

/// How long a session that said goodbye stays, so that retransmissions are still acknowledged.
pub const FAREWELL: Duration = Duration::from_secs(5);

// --- The data channel -----------------------------------------------------------------------

/// Packet ids accepted below the highest one seen. Wire: `--replay-window` default.
pub const REPLAY_WINDOW: u32 = 64;

/// The widest window that can be configured.
pub const REPLAY_WINDOW_MAX: u32 = 65_536;

/// How long a gap may stay open below a packet id that has arrived.
pub const REPLAY_TIME: Duration = Duration::from_secs(15);

/// A classic packet id at which a new key is asked for; the id must never wrap.
pub const PACKET_ID_RENEGOTIATE: u32 = 0xff00_0000;

/// Blocks and packets that one GCM key may protect (wire.md section 8.4).
pub const GCM_USAGE_MAX: u64 = (1 << 36) - 1;

/// Failed decryptions at which a new key is asked for.
pub const FAILED_OPEN_RENEGOTIATE: u64 = 1 << 35;

/// Failed decryptions at which a key is no longer used.
pub const FAILED_OPEN_MAX: u64 = 1 << 36;

/// How many epochs of data keys the other side may go on at once (wire.md section 8.2).
pub const DATA_EPOCHS_AHEAD: u16 = 16;

/// The epoch at which a new key is asked for; epochs must never wrap.
pub const DATA_EPOCH_RENEGOTIATE: u16 = 0xf000;

/// IPv6 extension headers that are skipped on the way to a transport header.
pub const EXTENSION_HEADERS_MAX: usize = 8;

// --- Buffers --------------------------------------------------------------------------------

/// The largest packet or super-packet that the kernel hands over or takes.
pub const SUPER_PACKET: usize = 64 * 1024;

/// Added to each buffer: room for the headers that stand before a payload, an odd number of
/// 64-byte cache lines so that the headers of neighbouring buffers do not share one cache set.
pub const BUFFER_HEADROOM: usize = 9 * 64;

/// One pool buffer.
pub const BUFFER_SIZE: usize = SUPER_PACKET + BUFFER_HEADROOM;

/// Datagrams in one receive. The kernel merges 64; a send on the same machine can have 128.
pub const SEGMENTS_MAX: usize = 128;

/// Segments in one read of the tun device: the least segment size that TCP takes is 88 bytes, so that
/// 64 KiB are at most 745.
pub const TUN_SEGMENTS_MAX: usize = 1024;

/// Datagrams that one send is cut into. Wire: UDP_MAX_SEGMENTS of kernels before 6.9.
pub const SEGMENTS_PER_SEND: usize = 64;

/// Bytes that one send can have over IPv4, and so everywhere.
pub const SEND_MAX: usize = 65_507;

/// Packets of a peer of which parts are missing, where packets are cut. Wire: 2.x has 25.
pub const FRAGMENTED_PER_PEER: usize = 32;

/// Those of all peers of a shard.
pub const FRAGMENTED_PER_SHARD: u16 = 1024;

/// How long the parts of a packet are kept. Wire: fragment.h, FRAG_TTL_SEC.
pub const FRAGMENT_LIFETIME: Duration = Duration::from_secs(10);

/// Buffers with opened packets that a shard has in hand at once. Together they fit the cache of a core.
pub const ARENAS: usize = 17;

/// How long the datagrams of a peer leave one by one after the kernel has refused a send of several.
pub const SEND_OFFLOAD_PAUSE: Duration = Duration::from_secs(60);

/// Pieces of one write to the tun device: headers with the first payload, then a payload each.
pub const PIECES_PER_PACKET: usize = 64;

/// Flows whose packets are merged at the same time, as many as the kernel has buckets for its own.
pub const OPEN_FLOWS_MAX: usize = 8;

// --- Clients --------------------------------------------------------------------------------

/// Addresses in the pool of a node. Wire: 2.6 ends a pool at 65,536.
pub const ADDRESS_SLOTS_MAX: u32 = 65_536;

/// The most that is read of the file of `ifconfig-pool-persist`, in bytes: a line of the longest name and
/// both addresses for each slot.
pub const LEASE_FILE_MAX: u64 = ADDRESS_SLOTS_MAX as u64 * (CLIENT_NAME_MAX as u64 + 58);

/// Lines of log about that file.
pub const LEASE_FAULTS_TOLD: usize = 64;

/// The most that is read of a certificate revocation list, in bytes.
pub const REVOCATION_FILE_MAX: u64 = 64 << 20;

/// Revoked certificates in a directory of `crl-verify`.
pub const REVOKED_FILES_MAX: usize = 1 << 20;

/// How often it is looked whether a revocation list has changed.
pub const REVOCATION_POLL: Duration = Duration::from_secs(1);

/// How long before its end a revocation list is announced to end, and how often that is said again.
pub const REVOCATIONS_ANNOUNCED: Duration = Duration::from_secs(14 * 24 * 3600);
/// See [`REVOCATIONS_ANNOUNCED`].
pub const REVOCATIONS_REPEATED: Duration = Duration::from_secs(24 * 3600);

/// Clients served at the same time when `max-clients` is not written.
pub const MAX_CLIENTS_DEFAULT: u32 = 1024;
/// Addresses and networks that lead to one client when `max-routes-per-client` is not written. Wire:
/// as in 2.6.
pub const ROUTES_PER_CLIENT: u32 = 256;
/// Hosts in the networks behind one client that are remembered, for who looks at the routing table.
pub const HOSTS_BEHIND_MAX: usize = 256;
/// How long after their last packet. Wire: as stock's cached routes.
pub const HOSTS_REMEMBERED: Duration = Duration::from_secs(60);

/// Clients whose files wait to be read. Those beyond ask again.
pub const PROFILES_WAITING: usize = 1024;

/// A common name, or another field by which a client is called, in bytes. Wire: wire.md section 5.
pub const COMMON_NAME_MAX: usize = 64;
/// What a client is called by several fields. Wire: as in 2.6, which refuses who would have a longer name.
pub const CLIENT_NAME_MAX: usize = 255;

// --- The peer table -------------------------------------------------------------------------

/// How long a released peer id rests before another peer gets it. Wire: wire.md section 18.
pub const PEER_ID_REST: Duration = Duration::from_secs(60);

// --- The configuration ----------------------------------------------------------------------

/// Words of a line, its directive included. Wire: 2.6 takes 16.
pub const CONFIG_WORDS_MAX: usize = 16;

/// Bytes of a word. Wire: 2.6 takes 256.
pub const CONFIG_WORD_MAX: usize = 256;

/// Files that include one another by `config`. Wire: 2.6 takes 10.
pub const CONFIG_LEVELS_MAX: usize = 10;

/// Bytes of a file that a configuration names, and of the configuration itself.
pub const CONFIG_FILE_MAX: u64 = 16 * 1024 * 1024;

// --- The reactor: one of everything per shard ---------------------------------------------------

/// Buffers that wait in the kernel for datagrams, when these are small.
pub const RECEIVE_BUFFERS: usize = 256;

/// Buffers that wait in the kernel for packets of the tun device, when these are small.
pub const TUN_BUFFERS: usize = 256;

/// Buffers of either kind that wait in the kernel at least.
pub const BUFFERS_LENT_MIN: usize = 16;

/// Bytes that the buffers of either kind, as full as those before them, hold together: what the cache
/// of a core has room for.
pub const BYTES_LENT: usize = BUFFERS_LENT_MIN * SUPER_PACKET;

/// Sends handed to the kernel and not yet completed.
pub const SENDS_IN_FLIGHT: usize = 512;

/// Writes to the tun device handed to the kernel and not yet completed.
pub const TUN_WRITES_IN_FLIGHT: usize = 512;

/// Bytes of a socket's receive buffer in the kernel, if `rcvbuf` does not say otherwise and the
/// system's default is not larger. The kernel doubles it and charges 2.3 kB for a full-size packet:
/// room for some 3,600 of them, 40 ms at 1 Gbit/s. The usual default of 212,992, which is not
/// doubled, holds 92, and overflows when 200 clients start at once.
pub const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of a socket's send buffer in the kernel, if `sndbuf` does not say otherwise and the system's
/// default is not larger. The usual default of 212,992 holds three sends of 64 KiB.
pub const SEND_BUFFER: usize = 4 * 1024 * 1024;

/// Packets that wait in a queue of the tun device until the shard reads them, if `txqueuelen` does not
/// say otherwise. The usual 500 are full after 2 ms of 250,000 packets a second, which is less than the
/// system lets another thread run before the shard has its turn.
pub const TUN_QUEUE: u32 = 1000;

/// How often a shard asks the kernel what it dropped.
pub const LOSS_INTERVAL: Duration = Duration::from_secs(1);

/// Listeners of a node.
pub const LISTENERS_MAX: usize = 16;

/// UDP sockets of one shard, [`LANES`] a listener; one over TCP takes the place of one of them.
pub const SOCKETS_PER_SHARD: usize = LISTENERS_MAX * LANES;

/// The first number of a stream on the data path. Those before are datagram sockets: more than a ring has
/// room for.
pub const FIRST_STREAM: u16 = 1 << 15;

/// Streams of one shard that belong to nobody yet: connections without a session.
pub const STREAM_STRANGERS: usize = 256;

/// Streams of one shard, whatever they are.
pub const STREAMS_PER_SHARD_MAX: usize = 8192;

/// Streams of a shard that may have so many clients: theirs, those of half-open sessions, and those of
/// strangers.
pub const fn streams_per_shard(max_clients: u32) -> usize {
    let streams = max_clients as usize + HALF_OPEN_MAX + STREAM_STRANGERS + STREAM_FAREWELLS;
    if streams > STREAMS_PER_SHARD_MAX {
        STREAMS_PER_SHARD_MAX
    } else {
        streams
    }
}

/// How long a connection may take to its first packet.
pub const STREAM_FIRST_PACKET: Duration = Duration::from_secs(10);

/// Bytes of a stream that are read at a time while it is not known whose it is.
pub const STREAM_STEP: u32 = 2048;

/// The longest content of a PROXY header of version 2: addresses, and fields behind them that are passed
/// over. One of version 1 has 107 bytes at most. Wire: proxies should stay below 520.
pub const PROXY_HEADER_V2_MAX: usize = 1024;

/// Networks of proxies that one listener believes.
pub const PROXY_NETWORKS_MAX: usize = 64;

/// Connections that are passed on to a web server (`port-share`) at the same time, those included
/// that wait for it to take them.
pub const PORT_SHARE_CONNECTIONS: usize = 1024;

/// Connections that wait to be taken by the thread that passes them on. Each has at most
/// [`STREAM_STEP`] bytes with it.
pub const PORT_SHARE_WAITING: usize = 256;

/// Bytes of a passed connection that wait for a receiver, in each direction.
pub const PORT_SHARE_BUFFER: usize = 16 * 1024;

/// Bytes that one passed connection may have moved in each direction before others have their turn.
pub const PORT_SHARE_TURN: usize = 8 * PORT_SHARE_BUFFER;

/// How long a web server may take to accept a connection. Wire: as in 2.6.
pub const PORT_SHARE_CONNECT: Duration = Duration::from_secs(5);

/// The shortest time between two lines about a web server that is not there.
pub const PORT_SHARE_COMPLAINT: Duration = Duration::from_secs(10);

/// After this silence a passed connection is asked whether its client is still there.
pub const PORT_SHARE_KEEPALIVE: Duration = Duration::from_secs(60);

/// How long a stream that is to be closed may take: for what still waits to be sent by it, and for the other side to
/// close it after that.
pub const STREAM_FAREWELL: Duration = Duration::from_secs(5);

/// Streams of a shard that are being closed at the same time; the oldest goes at once when there is one more.
pub const STREAM_FAREWELLS: usize = 256;

/// Sends of one stream that the kernel has at the same time before nothing more is sealed for it.
pub const STREAM_SENDS: usize = 32;

/// Bytes that wait for the receiver of one stream: what was sealed before it was known that it does not read. That is
/// [`STREAM_SENDS`] sends, one batch, and `tcp-queue-limit` packets; this bound is never reached by them.
pub const STREAM_WAITING_MAX: usize = 8 << 20;

/// Connections that wait in the kernel for a listener of one shard.
pub const STREAM_LISTEN_BACKLOG: i32 = 512;

/// After an error of a listener (no descriptor left), connections are accepted again so much later.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Packets that wait for a stream's receiver when `tcp-queue-limit` is not written. Wire: as in 2.x.
pub const STREAM_QUEUE_DEFAULT: u32 = 64;

/// The most that `tcp-queue-limit` may say.
pub const STREAM_QUEUE_MAX: u32 = 65_536;

/// Control packets that wait beside those; a session that has more waiting says them again.
pub const STREAM_QUEUE_CONTROL: usize = 64;

/// Buffers with which a shard sends what has waited for streams.
pub const STREAM_BUFFERS: usize = 16;

/// The longest packet that is taken from a stream, where inner packets have so many bytes. Wire: what 2.6
/// has room for, 268 bytes more; all control packets fit.
pub const fn stream_packet_max(mtu: u16) -> usize {
    let longest = mtu as usize + 268;
    let longest = if longest < CONTROL_DATAGRAM_MAX {
        CONTROL_DATAGRAM_MAX
    } else {
        longest
    };
    if longest > u16::MAX as usize {
        u16::MAX as usize
    } else {
        longest
    }
}

/// Sockets by which the datagrams of one listener leave a shard. What fills one of them holds up those
/// who use it.
pub const LANES: usize = 8;

/// Those that are for everybody: one after the other, while what filled the one before drains.
pub const LANES_SHARED: usize = 3;

/// Receivers of a shard that send by another lane than everybody. If there are more than lanes, they share
/// them.
pub const SLOW_RECEIVERS: usize = 64;

/// Bytes that the send buffer of a lane has at least, if that of the listener's first socket is not
/// smaller: two sends of 64 KiB as the kernel counts them, twice over. Else it is a quarter of that
/// one, so that all that a shard can put into the queues of devices is less than three times `sndbuf`.
pub const LANE_SEND_BUFFER: usize = 256 * 1024;

/// Tun queues of one shard.
pub const TUN_QUEUES_PER_SHARD: usize = 4;

/// Shards of a node. Each has a mailbox for each other.
pub const SHARDS_MAX: usize = 256;

/// Messages from one shard to one other that wait to be taken.
pub const MAILBOX_MESSAGES: usize = 1024;

/// Buffers of one shard that are away with packets which it handed to other shards.
pub const HAND_OFFS_IN_FLIGHT: usize = 512;

/// Those of them that one other shard has, with so many shards.
pub const fn hand_offs_per_pair(shards: usize) -> usize {
    let share = HAND_OFFS_IN_FLIGHT / if shards > 2 { shards - 1 } else { 1 };
    if share < HAND_OFFS_PER_PAIR_MIN {
        HAND_OFFS_PER_PAIR_MIN
    } else {
        share
    }
}

/// A pair of shards has room for a small burst, however many shards there are.
const HAND_OFFS_PER_PAIR_MIN: usize = 16;

/// The read of the wake-up event; many wake-ups are one.
pub const WAKE_UPS: usize = 1;

/// The request that ends all others when the reactor goes.
pub const CANCELS: usize = 1;

/// Of a socket beside its sends: the receive, the wait for room, and the request that ends both when it
/// is removed.
pub const OPERATIONS_PER_SOCKET: usize = 3;

/// Operations that can be in flight at once, which is also the size of the submission queue: so
/// that an operation which found its place always finds a submission entry.
pub const fn ring_operations(
    sockets: usize,
    tun_queues: usize,
    sends: usize,
    tun_writes: usize,
) -> usize {
    sockets * OPERATIONS_PER_SOCKET + tun_queues + sends + tun_writes + WAKE_UPS + CANCELS
}

/// Completions that can wait to be collected at once: the last one of each operation, and one for
/// each buffer that the kernel may fill. The timer of a turn is an argument of its wait and posts
/// none.
pub const fn ring_completions(
    operations: usize,
    receive_buffers: usize,
    tun_buffers: usize,
) -> usize {
    operations + receive_buffers + tun_buffers
}

/// Bytes that the kernel locks for a ring of so many operations and completions: the two queues,
/// rounded up as it rounds them, the index of the first one, and what is allotted in whole pages.
pub const fn ring_memory(operations: usize, completions: usize) -> u64 {
    let submissions = operations.next_power_of_two() * (SUBMISSION_ENTRY + SUBMISSION_INDEX);
    let completions = completions.next_power_of_two() * COMPLETION_ENTRY;
    (submissions + completions + RING_PAGES) as u64
}

const SUBMISSION_ENTRY: usize = 64;
const SUBMISSION_INDEX: usize = 4;
const COMPLETION_ENTRY: usize = 16;

/// The heads of the queues, the rings of receive buffers, and what is lost to whole pages.
const RING_PAGES: usize = 64 * 1024;

/// The limit on locked memory that a node of so many shards asks for.
pub const fn locked_memory(shards: usize, ring_memory: u64) -> u64 {
    ring_memory * shards as u64 * LOCKED_MEMORY_NODES
}

/// The limit counts what all processes of a user have locked: this node, others of the same user,
/// and one that was killed and whose rings the kernel has not ended yet.
const LOCKED_MEMORY_NODES: u64 = 8;

/// Stands before the payload of a received datagram: the kernel's description of it, the address
/// it came from and its control messages; a multiple of 64, so that the payload begins a cache line
/// of its buffer.
pub const DATAGRAM_OFFSET: usize = 128;

/// Left free before a packet read from the tun device, for the headers that will stand there. What
/// is left of the buffer takes a super-packet. Of a device without offloads, [`TUN_HEADER`] fewer.
pub const TUN_OFFSET: usize = BUFFER_HEADROOM - 64;

/// Before the packet stands what a device with offloads says of it. Wire: struct virtio_net_hdr.
pub const TUN_HEADER: usize = 10;

/// How long a reactor that goes waits for its last operations.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

/// How often it asks for their end meanwhile.
pub const DRAIN_STEP: Duration = Duration::from_millis(20);
// --- Events and log -------------------------------------------------------------------------

/// Refusals of one stranger that are told one by one in a window.
pub const STRANGER_LINES_PER_SOURCE: u32 = 5;

/// That window.
pub const STRANGER_SOURCE_WINDOW: Duration = Duration::from_secs(10);

/// Refusals of all strangers that are told one by one in a second.
pub const STRANGER_LINES_PER_SECOND: u64 = 10;

/// Sources of strangers that are told apart.
pub const STRANGER_SOURCES: usize = 256;

/// Refusals that were not told are counted in the log once in so long.
pub const STRANGER_SUMMARY_INTERVAL: Duration = Duration::from_secs(10);
/// Peer ids of a shard with room for `peers` peers: those beyond one a peer are at rest. With
/// fewer, clients that reconnect often would wait for the oldest id to have rested.
pub const fn peer_ids(peers: u32) -> u32 {
    peers.saturating_mul(4).saturating_add(4096)
}

/// Inner networks behind the clients of a shard. Wire: `iroute` and `iroute-ipv6`.
pub const INNER_PREFIXES_MAX: usize = 65_536;

/// Data keys of a peer: the one in use, the one before (lame duck), the one to come.
pub const KEY_SLOTS: usize = 3;

/// Bounds of `tun-mtu` in bytes: OpenVPN's least, and what a UDP datagram can hold.
pub const TUN_MTU_MIN: u16 = 100;
/// See [`TUN_MTU_MIN`].
pub const TUN_MTU_MAX: u16 = 65_000;

/// The most that `max-clients` may say: peer ids have 24 bits, and the last one means none.
pub const MAX_CLIENTS_MAX: u32 = (1 << 24) - 1;

// --- A shard --------------------------------------------------------------------------------

/// Packets that a stage of the data path works on at once.
pub const BATCH_PACKETS: usize = 256;

/// Buffers for what is sealed and opened: sends and writes in flight, sends that wait, and what was
/// handed to other shards.
pub const POOL_BUFFERS: usize =
    SENDS_IN_FLIGHT + TUN_WRITES_IN_FLIGHT + DEFERRED_SENDS + HAND_OFFS_IN_FLIGHT;

/// Datagrams that wait for room in a socket's buffer.
pub const DEFERRED_SENDS: usize = 512;

/// Those of one receiver.
pub const DEFERRED_SENDS_PER_RECEIVER: usize = DEFERRED_SENDS / 4;

/// Control datagrams of clients that wait for their turn.
pub const CLIENT_BACKLOG: usize = 512;

/// Those of half-open sessions.
pub const HALF_OPEN_BACKLOG: usize = 512;

/// Those of strangers.
pub const STRANGER_BACKLOG: usize = 512;

/// Sessions of a shard that nobody has let in, or that have left and still acknowledge.
pub const HALF_OPEN_MAX: usize = 1024;

/// Those of one source (the /24 of an IPv4 address, the /64 of an IPv6 one) in a whole node.
pub const HALF_OPEN_PER_SOURCE: usize = 64;

/// A source's places in one of `shards` shards. The session id, which the stranger chooses, says
/// which shard it is, so each has its share; with fewer than four, honest clients behind one address
/// would wait for each other, so beyond 16 shards a source has four in each.
pub const fn half_open_per_source(shards: u16) -> usize {
    let shards = if shards == 0 { 1 } else { shards as usize };
    let share = HALF_OPEN_PER_SOURCE / shards;
    if share < 4 { 4 } else { share }
}

/// How long a handshake that has begun is not displaced by newcomers.
pub const HALF_OPEN_TENURE: Duration = Duration::from_secs(1);

/// How long the handshakes of one turn may take before data is looked at again: for most a single step,
/// which can't be divided.
pub const HANDSHAKE_BUDGET: Duration = Duration::from_micros(100);

/// The longest that a shard sleeps.
pub const IDLE_TURN: Duration = Duration::from_secs(1);

/// Drops are told to subscribers once in so long.
pub const DROP_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// How long a stopping server waits for its clients to acknowledge.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

// --- Logins ---------------------------------------------------------------------------------

/// Bytes of a file of users.
pub const USER_FILE_MAX: u64 = 64 << 20;

/// Threads that look at passwords of `ringway-password-file`.
pub const PASSWORD_THREADS: usize = 2;

/// Logins of one name that are judged at once, where failed ones are counted.
pub const LOGINS_OF_A_NAME: usize = 4;

/// Users that have been asked for a code and have not given one.
pub const CHALLENGES_OPEN: usize = 4096;

/// Sources and names whose failed logins are remembered, in all.
pub const LOGIN_FAILURES: usize = 65_536;

// --- Plug-ins -------------------------------------------------------------------------------

/// Calls of plug-ins that wait for the one that is under way: as many clients at the door as a
/// server lets wait.
pub const PLUGIN_CALLS_WAITING: usize = 4096;

/// How long plug-ins may take to be opened.
pub const PLUGIN_OPENING: Duration = Duration::from_secs(60);

// --- The node thread ------------------------------------------------------------------------

/// How long a start waits for an address or a device that is in use.
pub const START_PATIENCE: Duration = Duration::from_secs(5);

/// How often it tries again.
pub const START_RETRY: Duration = Duration::from_millis(100);

/// Reports of all shards that wait for the node thread.
pub const NODE_REPORTS: usize = 8192;

/// Reports that a shard holds back while the node thread has no room, before events are lost.
pub const REPORTS_BEFORE_LOSS: usize = 4096;

/// Events that wait for a subscriber.
pub const EVENTS_PER_SUBSCRIBER: usize = 8192;

/// How long a server that ends waits for its log, and for its status file, to take the last of
/// what was to be written.
pub const WRITER_GRACE: Duration = Duration::from_secs(2);
// --- The client ------------------------------------------------------------------------------

/// How long a resolver may take before the next server's turn comes.
pub const RESOLVE_PATIENCE: Duration = Duration::from_secs(60);

/// What the thread that changes the machine has still to do: a tunnel to bring up, and its end.
pub const TUNNEL_JOBS: usize = 4;

/// How long a script of a client may run.
pub const SCRIPT_PATIENCE: Duration = Duration::from_secs(60);

/// Scripts of a server that run at once.
pub const SCRIPTS_RUNNING: usize = 64;

/// Calls of scripts and plug-ins for clients that come and go, at once. Logins have room beside them.
pub const ERRANDS_AT_ONCE: usize = SCRIPTS_RUNNING / 2;

/// How long a server that ends waits for what is done for clients that go.
pub const LAST_ERRANDS: Duration = Duration::from_secs(20);

/// Scripts of a server that wait to be run.
pub const SCRIPTS_WAITING: usize = LOGINS_WAITING;

/// Scripts whose answer follows, and whose process groups are kept for that.
pub const SCRIPTS_LINGERING: usize = 1024;

/// A script's words and environment, and what is told of its end.
pub const SCRIPT_REQUEST_MAX: usize = 1 << 20;

/// What is read of a file that a script has written.
pub const SCRIPT_FILE_MAX: u64 = 16 << 10;

/// Bytes of lines that a client is given when it connects.
pub const CLIENT_LINES_MAX: u64 = 256 << 10;

/// How often it is looked what a script has written that answers later.
pub const DEFERRED_POLL: Duration = Duration::from_millis(200);

/// How many of them are looked at in one go.
pub const DEFERRED_AT_ONCE: usize = 50;

/// The least pause between two goes.
pub const DEFERRED_PAUSE: Duration = Duration::from_millis(50);

/// Logins of a node that the chain has not looked at, and of a shard that it has not judged.
pub const LOGINS_WAITING: usize = 4096;

/// How often it is looked whether a script has ended.
pub const SCRIPT_POLL: Duration = Duration::from_millis(10);

/// Streams of a client's shard: those of its tunnels, and some that are being closed.
pub const STREAMS_DIALED: usize = 8;

/// Tunnels that a client's shard has at once: one, and one that is going.
pub const TUNNELS_DIALED: u32 = 2;

// --- The registry ---------------------------------------------------------------------------

/// After so long without an answer, a shard and the registry say a thing again.
pub const REGISTRY_REPEAT: Duration = Duration::from_secs(1);

/// Sessions of one shard, beyond `max-clients`, that the registry has not answered: those that
/// wait to be admitted, and those that are gone without its having heard it.
pub const ADMISSIONS_WAITING: usize = 4096;

/// Instructions of the registry to a shard that wait for room in its mailbox; what is beyond is
/// said again when the shard has caught up.
pub const INSTRUCTIONS_WAITING: usize = MAILBOX_MESSAGES;

/// Sessions that are told again at once to let go of a name.
pub const RELEASES_AT_ONCE: usize = 256;

/// Changes of the directory that a shard is told before it has acknowledged one. A quarter of the
/// mailbox: the rest is for its own clients.
pub const ANNOUNCEMENTS_IN_FLIGHT: u64 = (MAILBOX_MESSAGES / 4) as u64;

// --- Questions at run time ------------------------------------------------------------------

/// How long the shards may take to say what they have counted; who has not by then is told as
/// silent.
pub const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// How long the control socket waits for the node thread: a round that runs, and one of its own.
pub const CONTROL_ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the configuration may take to be read again until whoever wanted it is told that there is
/// no answer; its files may be on a slow disk.
pub const CONTROL_RELOAD_PATIENCE: Duration = Duration::from_secs(30);

/// How long who connects to the control socket may take to ask, and to read.
pub const CONTROL_REQUEST_PATIENCE: Duration = Duration::from_millis(500);

/// Bytes of a request on the control socket.
pub const CONTROL_REQUEST_MAX: usize = 256;

/// Bytes of an answer on the control socket.
pub const CONTROL_REPORT_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of a line on the management interface.
pub const MANAGEMENT_LINE_MAX: usize = 8192;

/// Bytes that wait for who is connected to the management interface, beyond which it is asked nothing
/// more. One answer stands above it.
pub const MANAGEMENT_BACKLOG: usize = 64 * 1024;

/// Bytes that wait for who wants to be told what happens, beyond which it is dropped.
pub const MANAGEMENT_REALTIME_BACKLOG: usize = 32 * 1024 * 1024;

/// How long who is connected to the management interface may read nothing of what waits for it.
pub const MANAGEMENT_WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Lines behind `client-auth`.
pub const MANAGEMENT_EXTRA_LINES: usize = 1024;

/// Lines that `test` makes.
pub const MANAGEMENT_TEST_LINES: u64 = 10_000;

/// States and echoes that are remembered.
pub const MANAGEMENT_HISTORY: usize = 100;

/// Log lines that are remembered unless `management-log-cache` says otherwise, and the most that
/// it may say.
pub const MANAGEMENT_LOG_LINES: usize = 250;

/// See [`MANAGEMENT_LOG_LINES`].
pub const MANAGEMENT_LOG_LINES_MAX: u32 = 100_000;

/// Connections to a unix socket of the management interface at a time; over TCP there is one.
pub const MANAGEMENT_CONNECTIONS: usize = 32;

/// Connections to the control socket that wait for their turn.
pub const CONTROL_BACKLOG_CONNECTIONS: i32 = 128;
