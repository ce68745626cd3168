//! Lines about compression: the framing that comes of them, and what is pushed.

use super::Files;
use crate::config::diagnostics::Severity;
use crate::config::settings::Compression::{self, Framed, Migrate};
use crate::wire::Framing::{None as Unframed, Prefix, Swap, V2};

/// The framing, and what is pushed about it.
fn framing(files: &Files, lines: &str) -> (Compression, Vec<String>) {
    let settings = files.with(lines);
    let pushed = settings.push.into_iter();
    let about = pushed.filter(|option| option.starts_with("comp"));
    (settings.compression, about.collect())
}

#[test]
fn each_line_means_a_framing() {
    let files = Files::new();
    let no_lzo = ["comp-lzo no"].as_slice();
    for (lines, compression, pushed) in [
        ("", Framed(Unframed), [].as_slice()),
        ("comp-lzo\n", Framed(Prefix), no_lzo),
        ("comp-lzo no\n", Framed(Prefix), no_lzo),
        ("comp-lzo yes\n", Framed(Prefix), no_lzo),
        (
            "comp-lzo adaptive\nallow-compression yes\n",
            Framed(Prefix),
            no_lzo,
        ),
        ("compress lzo\n", Framed(Prefix), no_lzo),
        (
            "comp-lzo no\npush \"comp-lzo no\"\n",
            Framed(Prefix),
            no_lzo,
        ),
        ("push \"comp-lzo yes\"\ncomp-lzo\n", Framed(Prefix), no_lzo),
        ("compress\n", Framed(Swap), &[]),
        ("compress stub\n", Framed(Swap), &[]),
        (
            "compress lz4\npush \"compress lz4\"\n",
            Framed(Swap),
            &["compress lz4"],
        ),
        ("compress stub-v2\n", Framed(V2), &[]),
        (
            "compress lz4-v2\npush \"compress lz4-v2\"\n",
            Framed(V2),
            &["compress lz4-v2"],
        ),
        (
            "push \"compress stub-v2\"\n",
            Framed(V2),
            &["compress stub-v2"],
        ),
        ("compress migrate\n", Migrate, &[]),
        (
            "comp-lzo\ncompress migrate\nallow-compression asym\n",
            Migrate,
            &[],
        ),
    ] {
        assert_eq!(
            framing(&files, lines),
            (
                compression,
                pushed.iter().map(ToString::to_string).collect()
            ),
            "{lines}"
        );
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let files = Files::new();
    let differs = "clients would frame packets in another way than the server";
    for (lines, why) in [
        ("compress zstd\n", "`zstd` is no algorithm"),
        ("comp-lzo maybe\n", "`maybe` is no algorithm"),
        ("push \"comp-lzo\"\n", differs),
        ("comp-lzo\npush \"compress lz4-v2\"\n", differs),
        ("compress lz4\npush \"compress lz4-v2\"\n", differs),
        ("compress migrate\npush \"comp-lzo no\"\n", differs),
        ("allow-compression perhaps\n", "`perhaps` is not served"),
    ] {
        let loaded = files.load_text(&format!("{}{lines}", super::LEAST));
        let errors = loaded.diagnostics.iter();
        let errors = errors.filter(|it| it.severity == Severity::Error);
        let errors: Vec<String> = errors.map(ToString::to_string).collect();
        assert!(errors.len() == 1 && errors[0].contains(why), "{errors:?}");
    }
}
