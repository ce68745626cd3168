//! Hexadecimal text in tests.

/// The bytes of `text`, blanks between them ignored, as a vector or an array of that length.
pub(crate) fn unhex<T: TryFrom<Vec<u8>>>(text: &str) -> T {
    let digits: Vec<u8> = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(|character| character.to_digit(16).unwrap() as u8)
        .collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    let Ok(bytes) = T::try_from(bytes) else {
        panic!("another length than that of {text}");
    };
    bytes
}

/// `bytes` as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
