//! Whose socket it is: one client's, or that of several which share it.

use std::collections::HashMap;

use ringway::session::{Class, OpenVpn2};
use ringway::wire::SessionId;

/// The clients of all sockets of a core.
#[derive(Debug)]
pub(super) struct Sockets {
    /// By the number of the socket.
    places: Vec<Place>,
    /// Clients of one socket, at most.
    sharing: usize,
    /// The shared socket that the next client gets, if it has room.
    open: Option<usize>,
    /// Clients that share a socket, by the server's session id.
    by_server: HashMap<(usize, SessionId), usize>,
    /// The server's session id of a client that shares a socket.
    servers: HashMap<usize, SessionId>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// All clients on it.
    clients: Vec<usize>,
    /// Those among several whose server is not known yet.
    fresh: Vec<usize>,
}

/// Who may have sent, or be meant by, a datagram of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addressee {
    Known(usize),
    /// One of these, which only they can tell.
    OneOf(Vec<usize>),
}

impl Sockets {
    /// Room for so many sockets, with so many clients on each.
    pub(super) fn new(count: usize, sharing: usize) -> Self {
        Self {
            places: vec![Place::default(); count],
            sharing: sharing.max(1),
            open: None,
            by_server: HashMap::new(),
            servers: HashMap::new(),
        }
    }

    /// Whether clients share sockets.
    pub(super) const fn are_shared(&self) -> bool {
        self.sharing > 1
    }

    /// A socket that has room for one more client; a new one is needed if there is none.
    pub(super) fn with_room(&self) -> Option<usize> {
        let open = self.open.filter(|_| self.are_shared())?;
        let clients = self.places.get(open)?.clients.len();
        (1..self.sharing).contains(&clients).then_some(open)
    }

    /// A client is on a socket from now on.
    pub(super) fn add(&mut self, socket: usize, client: usize) {
        let shared = self.are_shared();
        if let Some(place) = self.places.get_mut(socket) {
            place.clients.push(client);
            if shared {
                place.fresh.push(client);
                self.open = Some(socket);
            }
        }
    }

    /// The client has heard of its server, by this datagram of it.
    pub(super) fn met(&mut self, socket: usize, datagram: &[u8], client: usize) {
        if let Some(place) = self.places.get_mut(socket)
            && let Class::Control(server) = OpenVpn2::classify(datagram)
        {
            place.fresh.retain(|fresh| *fresh != client);
            self.by_server.insert((socket, server), client);
            self.servers.insert(client, server);
        }
    }

    /// A client leaves a socket. True if it was the last one.
    pub(super) fn remove(&mut self, socket: usize, client: usize) -> bool {
        if let Some(server) = self.servers.remove(&client) {
            self.by_server.remove(&(socket, server));
        }
        let Some(place) = self.places.get_mut(socket) else {
            return false;
        };
        place.clients.retain(|there| *there != client);
        place.fresh.retain(|there| *there != client);
        place.clients.is_empty()
    }

    /// Who a datagram of the control channel is for.
    pub(super) fn addressee(&self, socket: usize, datagram: &[u8]) -> Option<Addressee> {
        let place = self.places.get(socket)?;
        if !self.are_shared() {
            return place.clients.first().copied().map(Addressee::Known);
        }
        let Class::Control(server) = OpenVpn2::classify(datagram) else {
            return None;
        };
        Some(match self.by_server.get(&(socket, server)) {
            Some(client) => Addressee::Known(*client),
            None => Addressee::OneOf(place.fresh.clone()),
        })
    }

    /// All clients on a socket.
    pub(super) fn clients_on(&self, socket: usize) -> &[usize] {
        let place = self.places.get(socket);
        place.map_or(&[], |place| &place.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of a reset of the server with this session id.
    fn reset(server: u8) -> Vec<u8> {
        let mut datagram = vec![8 << 3];
        datagram.extend([server; 8]);
        datagram.extend([0; 20]);
        datagram
    }

    #[test]
    fn alone_on_a_socket_a_client_gets_all_of_it() {
        let mut sockets = Sockets::new(2, 1);
        sockets.add(1, 40);
        assert_eq!(sockets.with_room(), None);
        let known = Some(Addressee::Known(40));
        assert_eq!(sockets.addressee(1, &reset(1)), known);
        assert_eq!(sockets.addressee(0, &reset(1)), None);
        assert!(sockets.remove(1, 40));
        assert_eq!(sockets.addressee(1, &reset(1)), None);
    }

    #[test]
    fn clients_that_share_are_told_apart_once_they_know_their_server() {
        let mut sockets = Sockets::new(2, 3);
        assert_eq!(sockets.with_room(), None);
        for client in [5, 6] {
            sockets.add(0, client);
        }
        assert_eq!(sockets.with_room(), Some(0));
        let one_of = |clients: &[usize]| Some(Addressee::OneOf(clients.to_vec()));
        assert_eq!(sockets.addressee(0, &reset(1)), one_of(&[5, 6]));
        sockets.met(0, &reset(1), 6);
        assert_eq!(sockets.addressee(0, &reset(1)), Some(Addressee::Known(6)));
        assert_eq!(sockets.addressee(0, &reset(2)), one_of(&[5]));
        sockets.add(0, 7);
        assert_eq!(sockets.with_room(), None, "three are enough");
        assert!(!sockets.remove(0, 6));
        assert_eq!(sockets.addressee(0, &reset(1)), one_of(&[5, 7]));
        assert_eq!(sockets.with_room(), Some(0));
        assert!(!sockets.remove(0, 5) && sockets.remove(0, 7));
        assert_eq!(sockets.with_room(), None, "it is closed");
        assert_eq!(sockets.clients_on(0), [0; 0]);
    }
}
