//! A tiny Redis client for assertions from outside: a test must not ask the client under test whether it was right.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take; a paused server must fail an assertion, not hang it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// An integer.
    Int(i64),
    /// A string or a status, as bytes.
    Text(Vec<u8>),
    /// Several answers.
    List(Vec<Reply>),
    /// A refusal, as the server words it.
    Error(String),
}

impl Reply {
    /// The text, where the answer is one and is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, where the answer is one.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

/// Sends one command over a connection of its own and gives the answer.
///
/// # Panics
///
/// If the server cannot be reached or does not answer within five seconds. To look at that as a value, use
/// [`RedisServer::command`](crate::RedisServer::command).
pub async fn cli(addr: SocketAddr, command: &[&str]) -> Reply {
    match ask(addr, &[command]).await {
        Ok(reply) => reply,
        Err(error) => panic!("{addr} does not answer {command:?}: {error}"),
    }
}

/// Sends commands over one new connection and gives the answer to the last one, or the first refusal.
pub(crate) async fn ask(addr: SocketAddr, commands: &[&[&str]]) -> io::Result<Reply> {
    timeout(ANSWER_WITHIN, async {
        let mut stream = BufReader::new(TcpStream::connect(addr).await?);
        let mut last = Reply::Nil;
        for command in commands {
            stream.write_all(&encode(command)).await?;
            last = read_reply(&mut stream).await?;
            if matches!(last, Reply::Error(_)) {
                break;
            }
        }
        Ok(last)
    })
    .await
    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn encode(command: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

async fn read_reply(stream: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let line = read_line(stream).await?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| invalid(&line))?;
    let number = || rest.parse::<i64>().map_err(|_| invalid(&line));
    match kind {
        "+" => Ok(Reply::Text(rest.as_bytes().to_vec())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => Ok(Reply::Int(number()?)),
        "$" => match usize::try_from(number()?) {
            Ok(length) => read_text(stream, length).await,
            Err(_) => Ok(Reply::Nil),
        },
        "*" => match usize::try_from(number()?) {
            Ok(length) => read_list(stream, length).await,
            Err(_) => Ok(Reply::Nil),
        },
        _ => Err(invalid(&line)),
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches("\r\n").to_owned())
}

async fn read_text(stream: &mut BufReader<TcpStream>, length: usize) -> io::Result<Reply> {
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).await?;
    bytes.truncate(length);
    Ok(Reply::Text(bytes))
}

async fn read_list(stream: &mut BufReader<TcpStream>, length: usize) -> io::Result<Reply> {
    let mut items = Vec::new();
    for _ in 0..length {
        // Boxed, since a future cannot contain itself.
        items.push(Box::pin(read_reply(stream)).await?);
    }
    Ok(Reply::List(items))
}

fn invalid(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a Redis answer: {line:?}"))
}
