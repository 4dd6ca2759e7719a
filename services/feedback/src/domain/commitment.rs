//! What a ledger entry says of a text without telling it.

use ring::digest::{Context, SHA256};

/// Bytes of a salt.
pub const SALT: usize = 16;

/// The commitment to `text`: SHA-256 over the ASCII text `otklik.text.v1`, one zero byte, the salt, and the text as
/// UTF-8. The salt is kept with the text and goes with it, so that an erased text can't be guessed from its entry.
#[must_use]
pub fn commitment(salt: &[u8; SALT], text: &str) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(b"otklik.text.v1\0");
    context.update(salt);
    context.update(text.as_bytes());
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_salt_both_matter() {
        let one = commitment(&[1; SALT], "Яма засыпана");
        assert_eq!(one.len(), 32);
        assert_eq!(one, commitment(&[1; SALT], "Яма засыпана"));
        assert_ne!(one, commitment(&[2; SALT], "Яма засыпана"));
        assert_ne!(one, commitment(&[1; SALT], "Яма не засыпана"));
    }
}
