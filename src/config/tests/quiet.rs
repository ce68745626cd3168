//! Lines that leave something out, or are so in any case.

use super::{Files, LEAST};

#[test]
fn certificates_are_required() {
    let files = Files::new();
    for line in ["verify-client-cert", "verify-client-cert require"] {
        files.with(&format!("{line}\n"));
    }
    for word in ["none", "optional"] {
        let said = files.first_remark(&format!("verify-client-cert {word}\n"));
        let why = format!("`{word}` is not supported yet: clients are known by their certificates");
        assert!(said.contains(&why), "{said}");
    }
}

#[test]
fn routes_are_left_to_a_script() {
    let files = Files::new();
    let lines = "route 10.9.0.0 255.255.0.0\n";
    assert_eq!(files.with(lines).routes.len(), 1);
    let left = files.with(&format!("{lines}route-noexec\nstale-routes-check 60\n"));
    assert_eq!(left.routes, []);
}

#[test]
fn what_is_asked_of_the_machine() {
    let files = Files::new();
    assert_eq!(files.with("nice -5\n").node.process.nice, Some(-5));
    assert_eq!(files.with("").node.process.nice, None);
    let text = format!("{LEAST}nice 20\n");
    assert!(files.load_text(&text).configuration.is_none());
}
