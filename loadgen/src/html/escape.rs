//! Text that is only text, wherever it stands in a page.

use std::borrow::Cow;

/// `text` with everything replaced that means something in HTML or XML, and without what may not be in either.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(|it| replacement(it).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match replacement(character) {
            Some(other) => escaped.push_str(other),
            None => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

const fn replacement(character: char) -> Option<&'static str> {
    match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        '\t' | '\n' | '\r' => None,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => Some("\u{fffd}"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        for (text, escaped) in [
            ("plain, üñ", "plain, üñ"),
            ("</td><script>", "&lt;/td&gt;&lt;script&gt;"),
            ("\"a' & b", "&quot;a&#39; &amp; b"),
            ("a\0b\u{1b}[0m\n", "a\u{fffd}b\u{fffd}[0m\n"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }
}
