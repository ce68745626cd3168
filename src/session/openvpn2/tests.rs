use super::*;
use crate::random::SeededRandom;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

#[test]
fn answered_resets_take_a_fixed_amount_of_memory() {
    let mut answered = AnsweredResets::new(0x1234_5678_9abc_def1);
    let capacity = answered.places.capacity();
    let mut random = SeededRandom::new(1);
    let contacts: Vec<_> = (0..ANSWERED_RESETS as u64 * 4)
        .map(|slot| {
            let client = SessionId(random.next_u64().to_be_bytes());
            (address(slot as u16), client, slot)
        })
        .collect();
    for (from, client, slot) in &contacts {
        answered.remember(*from, *client, *slot);
        assert_eq!(answered.slot(*from, *client), Some(*slot));
    }
    assert_eq!(answered.places.len(), ANSWERED_RESETS);
    assert_eq!(answered.places.capacity(), capacity);
    let remembered = contacts
        .iter()
        .filter(|(from, client, _)| answered.slot(*from, *client).is_some())
        .count();
    // Four times as many contacts as places: about 98 of 100 places are taken.
    assert!(remembered <= ANSWERED_RESETS);
    assert!(remembered > ANSWERED_RESETS * 9 / 10, "{remembered}");
}

#[test]
fn an_answered_reset_is_found_by_address_and_id_together() {
    let mut answered = AnsweredResets::new(99);
    let client = SessionId([1; 8]);
    answered.remember(address(1), client, 7);
    assert_eq!(answered.slot(address(1), client), Some(7));
    assert_eq!(answered.slot(address(2), client), None);
    assert_eq!(answered.slot(address(1), SessionId([2; 8])), None);
}

#[test]
fn places_depend_on_the_key() {
    let ids: Vec<_> = (0..64_u64).map(|id| SessionId(id.to_be_bytes())).collect();
    let places = |key| {
        let answered = AnsweredResets::new(key);
        ids.iter().map(|id| answered.place(*id)).collect::<Vec<_>>()
    };
    let (one, other) = (places(0x9e37_79b9_7f4a_7c15), places(0x0123_4567_89ab_cdef));
    assert_ne!(one, other);
    assert!(one.iter().all(|place| *place < ANSWERED_RESETS));
}
