//! Answers as a server writes them (RESP2), read where they lie. They are many small numbers, for which
//! a general reader makes two trees each; and lists in lists have an end here.

use redis::{ErrorKind, RedisError, RedisResult, Value};

/// How deep lists may be in lists; ours are two deep.
const DEPTH: usize = 8;

/// Shortest value in a list, so that no length makes us take room for values that are not there.
const SHORTEST: usize = 4;

/// The first whole answer in `input`, and how long it is; `None` where more has to come. An error that is
/// the whole answer is one, too.
pub(super) fn read(input: &[u8]) -> RedisResult<Option<(RedisResult<Value>, usize)>> {
    let mut reader = Reader { rest: input };
    let answer = match input.first() {
        Some(b'-') => reader.line().map(|line| Err(server_error(&String::from_utf8_lossy(&line[1..])))),
        _ => reader.value(DEPTH).map(Ok),
    };
    match answer {
        Ok(answer) => Ok(Some((answer, input.len() - reader.rest.len()))),
        Err(Stop::Short) => Ok(None),
        Err(Stop::Unreadable) => Err((ErrorKind::Parse, "not an answer of a Redis server").into()),
    }
}

/// Why nothing was read.
enum Stop {
    /// More has to come.
    Short,
    /// This is something else.
    Unreadable,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        let line = self.line()?;
        let (kind, text) = line.split_first().ok_or(Stop::Unreadable)?;
        match kind {
            // An error inside of a list is what somebody was told, and no reason to stop.
            b'+' | b'-' => Ok(Value::SimpleString(String::from_utf8_lossy(text).into_owned())),
            b':' => Ok(Value::Int(number(text)?)),
            b'$' => match length(text)? {
                None => Ok(Value::Nil),
                Some(length) => Ok(Value::BulkString(self.bytes(length)?.to_vec())),
            },
            b'*' => match length(text)? {
                None => Ok(Value::Nil),
                Some(length) => self.list(length, depth.checked_sub(1).ok_or(Stop::Unreadable)?),
            },
            _ => Err(Stop::Unreadable),
        }
    }

    fn list(&mut self, length: usize, depth: usize) -> Result<Value, Stop> {
        let mut values = Vec::with_capacity(length.min(self.rest.len() / SHORTEST));
        for _ in 0..length {
            values.push(self.value(depth)?);
        }
        Ok(Value::Array(values))
    }

    /// What stands before the next end of a line.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let end = self.rest.iter().position(|byte| *byte == b'\r').ok_or(Stop::Short)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end..];
        self.end_of_line()?;
        Ok(line)
    }

    /// So many bytes, and an end of a line behind them.
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Stop::Short)?;
        self.rest = rest;
        self.end_of_line()?;
        Ok(bytes)
    }

    fn end_of_line(&mut self) -> Result<(), Stop> {
        match self.rest {
            [b'\r', b'\n', rest @ ..] => self.rest = rest,
            [] | [b'\r'] => return Err(Stop::Short),
            _ => return Err(Stop::Unreadable),
        }
        Ok(())
    }
}

/// A length; `None` where there is nothing, not even nothing at all.
fn length(text: &[u8]) -> Result<Option<usize>, Stop> {
    match number(text)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| Stop::Unreadable),
    }
}

fn number(text: &[u8]) -> Result<i64, Stop> {
    let text = std::str::from_utf8(text).map_err(|_| Stop::Unreadable)?;
    text.parse().map_err(|_| Stop::Unreadable)
}

fn server_error(text: &str) -> RedisError {
    let (code, detail) = text.split_once(' ').unwrap_or((text, ""));
    redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            "[ -~]{0,20}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..40)
                .prop_map(|bytes| { [format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat() }),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop::collection::vec(inner, 0..6)
                .prop_map(|list| [format!("*{}\r\n", list.len()).into_bytes(), list.concat()].concat())
        })
    }

    fn okay(value: Value) -> Value {
        match value {
            Value::Okay => Value::SimpleString("OK".to_owned()),
            Value::Array(values) => Value::Array(values.into_iter().map(okay).collect()),
            value => value,
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_the_redis_crate_reads_and_waits_for_what_is_cut_off(bytes in values(), more in any::<bool>()) {
            let behind: &[u8] = if more { b":1\r\n" } else { b"" };
            let all = [&bytes[..], behind].concat();
            let (read_value, length) = read(&all).unwrap().unwrap();
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(read_value.unwrap(), okay(redis::parse_redis_value(&bytes).unwrap()));
            for cut in 0..bytes.len() {
                prop_assert!(read(&bytes[..cut]).unwrap().is_none(), "{cut}");
            }
        }

        #[test]
        fn it_survives_anything(bytes in prop::collection::vec(prop::sample::select(&b"+-:$*\r\n0123 x"[..]), 0..60)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn what_no_server_says_is_an_error() {
        for bytes in [
            &b"HTTP/1.1 400\r\n"[..],
            b":x\r\n",
            b":99999999999999999999\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b"$1\r\nab\r\n",
            b"+a\rb",
            b"\r\n",
        ] {
            assert!(read(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(read(&b"*1\r\n".repeat(1_000_000)).is_err(), "lists in lists have an end");
        assert!(read(b"*9000000000000000000\r\n").unwrap().is_none(), "more than there is takes no room");
    }

    #[test]
    fn an_error_is_told_with_its_code_and_one_in_a_list_is_its_text() {
        let (answer, length) = read(b"-NOSCRIPT No such script\r\n").unwrap().unwrap();
        assert_eq!((answer.unwrap_err().code(), length), (Some("NOSCRIPT"), 26));
        let (answer, _) = read(b"*1\r\n-ERR no\r\n").unwrap().unwrap();
        assert_eq!(answer.unwrap(), Value::Array(vec![Value::SimpleString("ERR no".to_owned())]));
    }
}
