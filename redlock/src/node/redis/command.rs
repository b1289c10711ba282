//! A command as it travels: words, each behind its length. Made in place, over and over, because a
//! lock is two commands to every node and making them is a good part of what a client does.

use redis::{Cmd, RedisWrite};

/// A command to be sent, or some of its words.
#[derive(Debug, Default)]
pub(super) struct Command {
    words: usize,
    /// `$length\r\nword\r\n` for each of them.
    body: Vec<u8>,
}

impl Command {
    /// Takes all words out and keeps their room.
    pub(super) fn clear(&mut self) {
        self.words = 0;
        self.body.clear();
    }

    pub(super) fn word(&mut self, word: impl AsRef<[u8]>) -> &mut Self {
        let word = word.as_ref();
        self.words += 1;
        self.body.push(b'$');
        self.body.extend_from_slice(itoa::Buffer::new().format(word.len()).as_bytes());
        self.body.extend_from_slice(b"\r\n");
        self.body.extend_from_slice(word);
        self.body.extend_from_slice(b"\r\n");
        self
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.word(itoa::Buffer::new().format(number))
    }

    pub(super) fn words(&mut self, words: &[String]) -> &mut Self {
        words.iter().fold(self, |command, word| command.word(word))
    }

    /// Writes it as the server reads it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'*');
        out.extend_from_slice(itoa::Buffer::new().format(self.words).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
    }

    /// The same for connections of the redis crate.
    pub(super) fn to_cmd(&self) -> Cmd {
        let mut cmd = Cmd::with_capacity(self.words, self.body.len());
        let mut rest = &self.body[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\r') {
            let length = rest[1..end].iter().fold(0, |length, digit| 10 * length + usize::from(digit - b'0'));
            let begin = end + 2;
            cmd.write_arg(&rest[begin..begin + length]);
            rest = &rest[begin + length + 2..];
        }
        cmd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels_as_the_client_of_the_redis_crate_sends_it() {
        let mut theirs = redis::cmd("EVALSHA");
        theirs.arg("hash").arg(u64::MAX).arg("").arg(b"\r\n$3\r\n\xff".as_slice()).arg("a word of more than ten bytes");
        let mut ours = Command::default();
        for _ in 0..2 {
            ours.clear();
            ours.word("EVALSHA").word("hash").number(u64::MAX).word("").word(b"\r\n$3\r\n\xff");
            ours.words(&["a word of more than ten bytes".to_owned()]);
            let mut bytes = Vec::new();
            ours.write(&mut bytes);
            assert_eq!(bytes, theirs.get_packed_command());
            assert_eq!(ours.to_cmd().get_packed_command(), bytes);
        }
    }
}
