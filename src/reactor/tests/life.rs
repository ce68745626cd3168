//! Wake-ups, and the beginning and end of a reactor.

use super::*;

#[test]
fn no_message_waits_for_a_wake_up_that_was_swallowed() {
    const MESSAGES: usize = 20_000;
    let mut rig = Rig::small();
    let (sender, receiver) = mailbox(64, rig.waker.clone());
    let other = rig.waker.clone();
    let noise = thread::spawn(move || (0..MESSAGES).for_each(|_| other.wake()));
    let sending = thread::spawn(move || {
        for number in 0..MESSAGES {
            let mut message = number;
            while let Err(refused) = sender.send(message) {
                message = refused;
                thread::yield_now();
            }
        }
        sender.sent()
    });
    let (mut expected, mut wake_ups) = (0, 0);
    while expected < MESSAGES {
        assert!(matches!(rig.next(), Completion::Woken));
        wake_ups += 1;
        while let Some(number) = receiver.take() {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    noise.join().unwrap();
    assert_eq!(sending.join().unwrap(), 20_000);
    assert!(wake_ups <= 2 * MESSAGES);
}

#[test]
fn many_wake_ups_before_a_turn_are_one() {
    let mut rig = Rig::small();
    for _ in 0..2 {
        for _ in 0..1000 {
            rig.waker.wake();
        }
        rig.turn(PATIENCE);
        assert!(matches!(rig.pending.pop_front(), Some(Completion::Woken)));
        rig.turn(Duration::from_millis(5));
        assert!(rig.pending.is_empty());
    }
}

#[test]
fn a_reactor_that_goes_ends_its_operations_first() {
    in_own_network(|| {
        for round in 0..20u8 {
            let mut rig = Rig::small();
            let (socket, port) = rig.bind(Family::V4);
            rig.reactor.add_tun(tun_device()).unwrap();
            rig.turn(Duration::ZERO);
            let client = client("127.0.0.1");
            // Received and not collected, queued and not submitted, waited for.
            for _ in 0..50 {
                client.send_to(b"uncollected", ("127.0.0.1", port)).unwrap();
            }
            rig.send(&whole(socket, client.local_addr().ok(), &[round]), &[round]);
            drop(rig);
            assert_eq!(received(&client), [round], "what was queued is still sent");
            // The kernel holds a socket for as long as an operation uses it, and with it the port.
            // So does a child of another test between its fork and its exec, but not for long.
            eventually(|| Client::bind(("0.0.0.0", port)).is_ok());
            eventually(|| !run("ip", &["link"]).contains("ringway-e"));
        }
    });
}

#[test]
fn a_receive_with_much_to_do_ends_too() {
    in_own_network(|| {
        let mut rig = Rig::new(ReactorConfig {
            receive_buffers: 512,
            ..SMALL
        });
        let (_, port) = rig.bind(Family::V4);
        let client = client("127.0.0.1");
        for _ in 0..400 {
            client.send_to(b"flood", ("127.0.0.1", port)).unwrap();
        }
        // The kernel takes some and puts the operation aside, where a cancel does not find it.
        rig.turn(Duration::ZERO);
        assert!(rig.pending.len() < 400, "{}", rig.pending.len());
        drop(rig);
        eventually(|| Client::bind(("0.0.0.0", port)).is_ok());
    });
}

#[test]
fn a_reactor_has_the_sockets_it_was_made_for_and_no_more() {
    let mut rig = Rig::new(ReactorConfig {
        sockets: 2,
        tun_queues: 0,
        ..SMALL
    });
    assert_eq!(rig.bind(Family::V4).0.index(), 0);
    assert_eq!(rig.bind(Family::V4).0.index(), 1);
    let third = UdpSocket::bind(&listen(Family::V4)).unwrap();
    let error = rig.reactor.add_socket(third).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reactor has no place for one more socket"
    );
}
