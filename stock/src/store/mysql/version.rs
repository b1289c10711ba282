//! Which servers will do: those that skip locked rows and unpack JSON.

use crate::store::StoreError;

/// What would do, for error messages.
const NEEDED: &str = "MySQL 8.0.13 or MariaDB 10.6, or later";

const MYSQL: (u32, u32, u32) = (8, 0, 13);
const MARIADB: (u32, u32, u32) = (10, 6, 0);

/// Whether a server that calls itself this will do.
pub(super) fn check(found: &str) -> Result<(), StoreError> {
    // Some MariaDB servers put 5.5.5 in front, for replicas of long ago.
    let numbers = found.strip_prefix("5.5.5-").unwrap_or(found);
    let needed = if found.contains("MariaDB") { MARIADB } else { MYSQL };
    if parse(numbers) >= needed {
        return Ok(());
    }
    Err(StoreError::TooOld { found: found.chars().take(60).collect(), needed: NEEDED })
}

/// The three numbers at the beginning; zero for what is missing.
fn parse(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_apart_and_old_ones_refused() {
        for good in
            ["8.0.13", "8.4.0-commercial", "9.7.4-2", "10.6.0-MariaDB", "5.5.5-10.11.6-MariaDB-log", "11.8.2-MariaDB"]
        {
            assert!(check(good).is_ok(), "{good}");
        }
        for old in ["5.7.44", "8.0.12", "10.5.28-MariaDB", "5.5.5-10.3.39-MariaDB-1", ""] {
            let error = check(old).unwrap_err();
            assert_eq!(error.code(), "store_too_old");
            assert!(error.to_string().contains("MariaDB 10.6"), "{error}");
        }
    }
}
