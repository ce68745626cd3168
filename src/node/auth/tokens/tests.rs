use super::*;
use crate::crypto::AuthTokenKey;
use crate::node::auth::LoginAt;
use crate::random::SeededRandom;

/// Tokens that are good for 400 seconds, and live 1000.
pub(in crate::node::auth) fn tokens(external_auth: bool) -> Tokens {
    tokens_of(external_auth, 7)
}

/// The same of a server with that secret.
pub(in crate::node::auth) fn tokens_of(external_auth: bool, secret: u64) -> Tokens {
    let settings = TokenSettings {
        lifetime: Some(Duration::from_secs(1000)),
        renewal: Duration::from_secs(200),
        between: Some(Duration::from_secs(200)),
        external_auth,
        key: AuthTokenKey::generate(&mut SeededRandom::new(secret)),
    };
    Tokens::new(settings, Box::new(SeededRandom::new(1)))
}

fn login(client_id: u64, username: &str, password: &str) -> Login {
    Login {
        at: LoginAt {
            shard: 3,
            number: client_id,
        },
        environment: vec![("untrusted_port".to_owned(), "7".to_owned())],
        ..Login::of_test(client_id).with_password(username, password)
    }
}

/// What comes of a login, in words, and its `session_id`.
fn look(tokens: &mut Tokens, mut login: Login, unix: u64) -> (String, String) {
    let verdict = tokens.look(&mut login, unix);
    let names: Vec<_> = login.environment.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["session_id", "session_state", "untrusted_port"]);
    let verdict = match verdict {
        None => "ask".to_owned(),
        Some(Verdict::Accepted) => "accept".to_owned(),
        Some(Verdict::Refused { reason, .. }) => format!("refuse {reason}"),
        other => panic!("{other:?}"),
    };
    let id = login.environment[0].1.clone();
    (format!("{} {verdict}", login.environment[1].1), id)
}

#[test]
fn a_token_stands_for_its_password_as_long_as_it_is_good() {
    let mut tokens = tokens(false);
    let now = Instant::now();
    let (said, id) = look(&mut tokens, login(1, "anna", "sesame"), 5000);
    assert_eq!((said.as_str(), id.len()), ("Initial ask", 16));
    let first = tokens
        .accepted(&login(1, "anna", "sesame"), 5000, now)
        .unwrap();
    for (client, user, unix, said) in [
        // On another connection, which has its own number.
        (2, "anna", 5000, "Authenticated accept"),
        (3, "anna", 5399, "Authenticated accept"),
        (4, "anna", 5400, "Expired refuse SESSION: token expired"),
        (5, "anna", 4999, "Expired refuse SESSION: token expired"),
        (6, "bert", 5000, "Invalid refuse "),
        // The same connection.
        (1, "anna", 5100, "Authenticated accept"),
    ] {
        let (found, of) = look(&mut tokens, login(client, user, first.as_str()), unix);
        assert_eq!(found, said, "{client}");
        assert_eq!(of == id, user == "anna", "{client}");
    }
    let changed = "SESS_ID_AT_".to_owned() + &first.as_str()[11..].to_lowercase();
    assert_eq!(
        look(&mut tokens, login(7, "anna", &changed), 5000).0,
        "Invalid refuse "
    );
}

#[test]
fn tokens_of_a_session_keep_its_id_and_its_end() {
    let mut tokens = tokens(false);
    let now = Instant::now();
    let (_, id) = look(&mut tokens, login(1, "anna", "sesame"), 5000);
    let mut token = tokens
        .accepted(&login(1, "anna", "sesame"), 5000, now)
        .unwrap();
    for unix in [5300, 5600, 5900] {
        let again = || login(1, "anna", token.as_str());
        let good = ("Authenticated accept".to_owned(), id.clone());
        assert_eq!(look(&mut tokens, again(), unix), good);
        token = tokens.accepted(&again(), unix, now).unwrap();
    }
    // Each of them was renewed in time, but the first is too long ago.
    let (said, _) = look(&mut tokens, login(1, "anna", token.as_str()), 6001);
    assert_eq!(said, "Expired refuse SESSION: token expired");
    // A token of another session is none of this connection.
    look(&mut tokens, login(2, "anna", "sesame"), 5900);
    let other = tokens
        .accepted(&login(2, "anna", "sesame"), 5900, now)
        .unwrap();
    let (said, _) = look(&mut tokens, login(1, "anna", other.as_str()), 5900);
    assert_eq!(said, "Invalid refuse ");
}

#[test]
fn external_judges_are_asked_and_told() {
    let mut tokens = tokens(true);
    let now = Instant::now();
    look(&mut tokens, login(1, "anna", "sesame"), 5000);
    let token = tokens
        .accepted(&login(1, "anna", "sesame"), 5000, now)
        .unwrap();
    for (client, user, unix, said) in [
        (2, "anna", 5000, "Authenticated ask"),
        (3, "anna", 5400, "Expired ask"),
        (4, "bert", 5000, "Invalid ask"),
    ] {
        let login = login(client, user, token.as_str());
        assert_eq!(look(&mut tokens, login, unix).0, said);
    }
}

#[test]
fn tokens_are_renewed_between_logins_until_the_client_is_gone() {
    let mut tokens = tokens(false);
    let now = Instant::now();
    for client in [1, 2] {
        look(&mut tokens, login(client, "anna", "sesame"), 5000);
        tokens
            .accepted(&login(client, "anna", "sesame"), 5000, now)
            .unwrap();
    }
    let due = now + Duration::from_secs(200);
    assert_eq!(tokens.next_timeout(), Some(due));
    assert_eq!(tokens.poll(now, 5199), None);
    tokens.left(2);
    let renewed = tokens.poll(due, 5200).unwrap();
    assert_eq!((renewed.shard, renewed.client_id), (3, 1));
    assert_eq!(tokens.poll(due, 5200), None);
    let token = renewed.token.as_str();
    assert_eq!(
        look(&mut tokens, login(1, "anna", token), 5599).0,
        "Authenticated accept"
    );
    tokens.left(1);
    assert_eq!(tokens.poll(due + Duration::from_secs(200), 5400), None);
    assert_eq!(tokens.next_timeout(), None);
    assert!(tokens.sessions.is_empty());
}
