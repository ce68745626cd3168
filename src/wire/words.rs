//! Text to words: the lines of configuration files, and the options that a server pushes.
//!
//! Words are apart by blanks. `#` and `;` begin a comment where a word would begin, and are text
//! inside a word. `"quoted"` words take a backslash before `\`, `"` and a blank; `'quoted'` words are
//! raw; unquoted words take the same backslashes, and quotes inside them are text.

use crate::limits;

/// The words of one line. Commands with arguments are read again by the same rules.
pub fn words(line: &str) -> Result<Vec<String>, WordFault> {
    let mut words = Vec::new();
    let mut rest = line.chars();
    loop {
        let before = rest.clone();
        let word = match rest.next() {
            None | Some('#' | ';') => return Ok(words),
            Some(blank) if is_blank(blank) => continue,
            Some('"') => double_quoted(&mut rest)?,
            Some('\'') => single_quoted(&mut rest)?,
            Some(_) => {
                rest = before;
                unquoted(&mut rest)?
            }
        };
        if words.len() == limits::CONFIG_WORDS_MAX {
            return Err(WordFault::TooManyWords);
        }
        if word.len() > limits::CONFIG_WORD_MAX {
            return Err(WordFault::LongWord);
        }
        words.push(word);
    }
}

fn double_quoted(rest: &mut std::str::Chars<'_>) -> Result<String, WordFault> {
    let mut word = String::new();
    loop {
        match rest.next().ok_or(WordFault::OpenDoubleQuote)? {
            '"' => return Ok(word),
            '\\' => word.push(escaped(rest)?),
            plain => word.push(plain),
        }
    }
}

fn single_quoted(rest: &mut std::str::Chars<'_>) -> Result<String, WordFault> {
    let (word, after) = rest
        .as_str()
        .split_once('\'')
        .ok_or(WordFault::OpenSingleQuote)?;
    *rest = after.chars();
    Ok(word.to_owned())
}

fn unquoted(rest: &mut std::str::Chars<'_>) -> Result<String, WordFault> {
    let mut word = String::new();
    loop {
        match rest.next() {
            None => return Ok(word),
            Some(blank) if is_blank(blank) => return Ok(word),
            Some('\\') => word.push(escaped(rest)?),
            Some(plain) => word.push(plain),
        }
    }
}

fn escaped(rest: &mut std::str::Chars<'_>) -> Result<char, WordFault> {
    match rest.next() {
        Some(known) if known == '\\' || known == '"' || is_blank(known) => Ok(known),
        Some(_) => Err(WordFault::BadEscape),
        None => Err(WordFault::TrailingBackslash),
    }
}

/// C's `isspace` and the end of a string: what OpenVPN takes for the end of a word.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0b' | '\x0c' | '\0')
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordFault {
    /// `"` without its partner.
    #[error("no closing quotation (\")")]
    OpenDoubleQuote,
    /// `'` without its partner.
    #[error("no closing single quotation (')")]
    OpenSingleQuote,
    /// A backslash before something that needs none.
    #[error(
        "bad backslash: only \\\\, \\\" and \\(blank) are escapes; in 'single quotes' a backslash is text"
    )]
    BadEscape,
    /// A backslash at the end of the line.
    #[error("a backslash at the end of the line: lines cannot be continued")]
    TrailingBackslash,
    /// More words than OpenVPN takes.
    #[error("more than {} words", limits::CONFIG_WORDS_MAX)]
    TooManyWords,
    /// A word that OpenVPN would cut.
    #[error("a word of more than {} bytes", limits::CONFIG_WORD_MAX)]
    LongWord,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::WordFault;
    use crate::limits;

    fn words(line: &str) -> Vec<String> {
        super::words(line).unwrap()
    }

    #[test]
    fn words_of_a_line() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("   \t ", &[]),
            ("# all of it", &[]),
            ("  ; all of it", &[]),
            ("port 1194", &["port", "1194"]),
            ("\tport \t 1194\t", &["port", "1194"]),
            ("persist-key ", &["persist-key"]),
            ("key server.key  # secret", &["key", "server.key"]),
            ("mute 10 ; the rest", &["mute", "10"]),
            ("log a#b", &["log", "a#b"]),
            ("log a;b", &["log", "a;b"]),
            (
                r##"push "route 10.0.0.0 # not a comment""##,
                &["push", "route 10.0.0.0 # not a comment"],
            ),
            (r#"setenv A "a \"b\" c""#, &["setenv", "A", r#"a "b" c"#]),
            (r#"up "c:\\x\ y""#, &["up", r"c:\x y"]),
            (r"up a\ b", &["up", "a b"]),
            (r"up 'a\b \'", &["up", r"a\b \"]),
            (r#"up 'say "x"'"#, &["up", r#"say "x""#]),
            (r#"up a"b c"#, &["up", r#"a"b"#, "c"]),
            (r#"up a'b"#, &["up", "a'b"]),
            (r#"up "a"b"#, &["up", "a", "b"]),
            (r#"up "" x"#, &["up", "", "x"]),
            ("dev tun\r", &["dev", "tun"]),
            (
                r#"up "/bin/sh -c 'echo \"a b\"' -- ""#,
                &["up", r#"/bin/sh -c 'echo "a b"' -- "#],
            ),
        ];
        for (line, expected) in table {
            assert_eq!(words(line), *expected, "{line:?}");
        }
    }

    #[test]
    fn lines_that_break_the_rules() {
        let long = format!("x {}", "a".repeat(limits::CONFIG_WORD_MAX + 1));
        let many = "w ".repeat(limits::CONFIG_WORDS_MAX + 1);
        let table = [
            (r#"push "route"#, WordFault::OpenDoubleQuote),
            (r#"push "route\""#, WordFault::OpenDoubleQuote),
            ("push 'route", WordFault::OpenSingleQuote),
            (r"log c:\temp", WordFault::BadEscape),
            (r#"log "c:\temp""#, WordFault::BadEscape),
            (r"log a\#b", WordFault::BadEscape),
            (r"up x \", WordFault::TrailingBackslash),
            (&long, WordFault::LongWord),
            (&many, WordFault::TooManyWords),
        ];
        for (line, expected) in table {
            assert_eq!(super::words(line), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn the_longest_line_passes() {
        let word = "a".repeat(limits::CONFIG_WORD_MAX);
        let line = vec![word.as_str(); limits::CONFIG_WORDS_MAX].join(" ");
        assert_eq!(words(&line).len(), limits::CONFIG_WORDS_MAX);
    }

    #[test]
    fn a_comment_hides_broken_quotes() {
        assert_eq!(words("verb 3 # don't"), ["verb", "3"]);
    }

    proptest! {
        #[test]
        fn quoting_is_undone(word in "[a-z \"\\\\#;']{0,40}") {
            let quoted = format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(super::words(&quoted), Ok(vec![word]));
        }
    }
}
