//! Passwords as SCRAM-SHA-256 records (RFC 5802, RFC 7677): one record serves every kind of login.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const SCHEME: &str = "{SCRAM-SHA-256}";
/// RFC 7677 section 4 asks for 4096 at least; a Raspberry Pi does these in some 20 ms.
const ITERATIONS: u32 = 15_000;
/// No record that asks for more work is obeyed.
const ITERATIONS_MAX: u32 = 1_000_000;

/// The system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// A new record: `{SCRAM-SHA-256}iterations,salt,stored-key,server-key`.
pub fn record(password: &str) -> Result<String, NoRandomness> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| NoRandomness)?;
    Ok(record_with(password, &salt, ITERATIONS))
}

fn record_with(password: &str, salt: &[u8], iterations: u32) -> String {
    let (stored, server) = keys(password, salt, iterations);
    format!("{SCHEME}{iterations},{},{},{}", BASE64.encode(salt), BASE64.encode(stored), BASE64.encode(server))
}

/// Whether the password is the one of the record. Takes as long without a record as with one, so that
/// time does not tell who exists.
pub fn verify(record: Option<&str>, password: &str) -> bool {
    let parsed = record.and_then(parse);
    let (iterations, salt, stored) = parsed.clone().unwrap_or((ITERATIONS, vec![0; 16], vec![0; 32]));
    let (got, _) = keys(password, &salt, iterations);
    bool::from(got.ct_eq(&stored)) && parsed.is_some()
}

fn parse(record: &str) -> Option<(u32, Vec<u8>, Vec<u8>)> {
    let mut fields = record.strip_prefix(SCHEME)?.split(',');
    let iterations = fields.next()?.parse().ok().filter(|n| (1..=ITERATIONS_MAX).contains(n))?;
    let salt = BASE64.decode(fields.next()?).ok()?;
    let stored = BASE64.decode(fields.next()?).ok()?;
    Some((iterations, salt, stored))
}

fn keys(password: &str, salt: &[u8], iterations: u32) -> (Vec<u8>, Vec<u8>) {
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted);
    let keyed = |text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&salted).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes()
    };
    (Sha256::digest(keyed("Client Key")).to_vec(), keyed("Server Key").to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_rfc_7677() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let record = record_with("pencil", &salt, 4096);
        // Known from other implementations for the user of RFC 7677 section 3.
        assert_eq!(
            record,
            "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert!(verify(Some(&record), "pencil"));
        assert!(!verify(Some(&record), "pencils"));
    }

    #[test]
    fn no_record_or_a_bad_one_admits_nobody() {
        for bad in [
            None,
            Some(""),
            Some("secret"),
            Some("{SCRAM-SHA-256}4096,AAAA"),
            Some("{SCRAM-SHA-256}9999999,AA==,AA==,AA=="),
        ] {
            assert!(!verify(bad, ""), "{bad:?}");
        }
    }

    #[test]
    fn each_record_has_its_own_salt() {
        assert_ne!(record("x").ok(), record("x").ok());
    }
}
