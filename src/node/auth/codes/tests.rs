use super::*;
use crate::node::logins::SecretFile;
use crate::random::SeededRandom;

/// RFC 6238's secret, and its code at 59 seconds.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const UNIX: u64 = 59;
const CODE: &str = "287082";

/// With a secret of anna's.
pub(in crate::node::auth) fn codes() -> (Codes, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secrets");
    std::fs::write(&path, format!("# apps\nanna:{SECRET}\n")).unwrap();
    let secrets = Followed::read(&path, SecretFile::parse).unwrap();
    (
        Codes::new(secrets, Box::new(SeededRandom::new(1))),
        directory,
    )
}

fn login(client_id: u64, kind: LoginKind, username: &str, password: &str) -> Login {
    Login {
        kind,
        ..Login::of_test(client_id).with_password(username, password)
    }
}

fn connect(username: &str, password: &str) -> Login {
    login(1, LoginKind::Connect, username, password)
}

/// What comes of a login whose password is right; and the password that others see.
fn judged(codes: &mut Codes, mut login: Login, unix: u64) -> (Verdict, String) {
    let now = Instant::now();
    let factor = codes.take(&mut login, now);
    let verdict = codes.judge(&login, &factor, unix, now);
    (verdict, login.password().to_string())
}

fn both_of(password: &str, code: &str) -> String {
    let encoded = [password, code].map(|it| BASE64.encode(it.as_bytes()));
    format!("SCRV1:{}:{}", encoded[0], encoded[1])
}

#[test]
fn a_code_beside_the_password_is_taken_out_of_it_and_good_once() {
    let (mut codes, _directory) = codes();
    let sent = both_of("sesame", CODE);
    let (verdict, password) = judged(&mut codes, connect("anna", &sent), UNIX);
    assert_eq!((verdict, password.as_str()), (Verdict::Accepted, "sesame"));
    let (again, _) = judged(&mut codes, connect("anna", &sent), UNIX);
    assert_eq!(again, refused("wrong code"));
    let (wrong, _) = judged(
        &mut codes,
        connect("anna", &both_of("sesame", "000000")),
        UNIX,
    );
    assert_eq!(wrong, refused("wrong code"));
    let (nobody, _) = judged(&mut codes, connect("bert", &sent), UNIX);
    assert_eq!(nobody, refused("there is no secret of that name"));
    // With a new key the client says the same once more.
    let same = login(1, LoginKind::Reauth, "anna", &sent);
    let (verdict, password) = judged(&mut codes, same, UNIX);
    assert_eq!((verdict, password.as_str()), (Verdict::Accepted, "sesame"));
}

#[test]
fn who_sends_a_password_alone_is_asked_and_answers_once() {
    let (mut codes, _directory) = codes();
    let (question, _) = judged(&mut codes, connect("anna", "sesame"), UNIX);
    assert!(is_for_now(&question));
    let Verdict::Refused { reason, .. } = question else {
        panic!("{question:?}");
    };
    let parts: Vec<&str> = reason.split(':').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("CRV1", "R,E", "YW5uYQ=="));
    let answer = format!("CRV1::{}::{CODE}", parts[2]);
    // Somebody else's answer closes the question.
    let (theirs, _) = judged(&mut codes, connect("bert", &answer), UNIX);
    assert!(theirs.is_refusal() && !is_for_now(&theirs));
    let (late, _) = judged(&mut codes, connect("anna", &answer), UNIX);
    assert!(late.is_refusal() && !is_for_now(&late), "it is closed");

    let (question, _) = judged(&mut codes, connect("anna", "sesame"), UNIX);
    let Verdict::Refused { reason, .. } = question else {
        panic!("{question:?}");
    };
    let state = reason.split(':').nth(2).unwrap();
    let answer = format!("CRV1::{state}::{CODE}");
    let mut first = connect("anna", &answer);
    let now = Instant::now();
    let factor = codes.take(&mut first, now);
    assert_eq!(factor, Factor::Code(CODE.to_owned().into()));
    assert_eq!(*first.password(), "sesame", "judges are asked about it");
    assert_eq!(codes.judge(&first, &factor, UNIX, now), Verdict::Accepted);
    let mut again = login(1, LoginKind::Reauth, "anna", &answer);
    assert_eq!(codes.take(&mut again, now), Factor::Again);
    assert_eq!(*again.password(), "sesame");
    let mut again = login(1, LoginKind::Reauth, "anna", &answer);
    let mut other = login(2, LoginKind::Reauth, "anna", &answer);
    assert_eq!(codes.take(&mut other, now), Factor::Unasked);
    codes.left(1);
    assert_eq!(codes.take(&mut again, now), Factor::Unasked);
}

#[test]
fn questions_have_an_end_and_a_number() {
    let (mut codes, _directory) = codes();
    let now = Instant::now();
    for _ in 0..CHALLENGES_OPEN {
        assert!(is_for_now(&codes.ask(&connect("anna", "sesame"), now)));
    }
    assert!(!is_for_now(&codes.ask(&connect("anna", "sesame"), now)));
    let later = now + PATIENCE;
    let state = codes.open.keys().next().unwrap().clone();
    let mut late = connect("anna", &format!("CRV1::{state}::{CODE}"));
    assert_eq!(codes.take(&mut late, later), Factor::Unasked);
    for _ in 0..2 {
        assert!(is_for_now(&codes.ask(&connect("anna", "sesame"), later)));
    }
    assert_eq!(codes.open.len(), 2, "old ones have made room");
}
