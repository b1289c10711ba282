//! A tiny client of the MySQL protocol: user `root` without a password, text results. It tells when a server is
//! ready, makes databases, and lets tests look at rows without going through the code under test.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sql::Row;

/// How long an answer may take; a paused server must fail an assertion, not hang it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

// Capability flags: long passwords, database in the greeting, protocol 4.1, transactions, authentication by plugin.
const CAPABILITIES: u32 = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;

/// Runs one statement over a connection of its own.
pub(crate) async fn query(addr: SocketAddr, database: &str, sql: &str) -> io::Result<Vec<Row>> {
    timeout(ANSWER_WITHIN, async {
        let mut session = Session { stream: TcpStream::connect(addr).await?, sequence: 0 };
        session.log_in(database).await?;
        session.sequence = 0;
        session.send(&[&[3], sql.as_bytes()].concat()).await?;
        session.read_result().await
    })
    .await
    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

struct Session {
    stream: TcpStream,
    sequence: u8,
}

impl Session {
    async fn log_in(&mut self, database: &str) -> io::Result<()> {
        // The greeting carries a salt, which an empty password does not need.
        self.receive().await?;
        let mut login = CAPABILITIES.to_le_bytes().to_vec();
        login.extend(0x0100_0000_u32.to_le_bytes());
        // utf8mb4, then reserved zeros, the user, and an authentication of no bytes.
        login.push(45);
        login.extend([0; 23]);
        login.extend(b"root\0\0");
        login.extend(database.as_bytes());
        login.extend(b"\0mysql_native_password\0");
        self.send(&login).await?;
        loop {
            let answer = self.receive().await?;
            match answer.first() {
                Some(0) => return Ok(()),
                // Asked to use another plugin; both say "empty password" in their own way.
                Some(0xfe) if answer[1..].starts_with(b"mysql_native") => self.send(&[]).await?,
                Some(0xfe) => self.send(&[0]).await?,
                _ => {}
            }
        }
    }

    async fn read_result(&mut self) -> io::Result<Vec<Row>> {
        let head = self.receive().await?;
        if head.first() == Some(&0) {
            return Ok(Vec::new());
        }
        // The descriptions of the columns, up to an end marker; then the rows, up to another.
        while !is_end(&self.receive().await?) {}
        let mut rows = Vec::new();
        loop {
            let packet = self.receive().await?;
            if is_end(&packet) {
                return Ok(rows);
            }
            rows.push(read_row(&packet)?);
        }
    }

    async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut packet = length.to_le_bytes()[..3].to_vec();
        packet.push(self.sequence);
        packet.extend(body);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).await
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await?;
        self.sequence = head[3].wrapping_add(1);
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        if body.first() == Some(&0xff) {
            let message = body.get(3..).unwrap_or_default();
            return Err(io::Error::other(String::from_utf8_lossy(message).into_owned()));
        }
        Ok(body)
    }
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

fn read_row(mut packet: &[u8]) -> io::Result<Row> {
    let mut row = Row::new();
    while let Some((&first, rest)) = packet.split_first() {
        let (extra, rest) = match first {
            0xfb => {
                row.push(None);
                packet = rest;
                continue;
            }
            0xfc => (2, rest),
            0xfd => (3, rest),
            0xfe => (8, rest),
            _ => (0, packet),
        };
        let (length, rest) =
            rest.split_at_checked(extra.max(1)).ok_or(io::ErrorKind::InvalidData)?;
        let length = length.iter().rev().fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
        let (value, rest) = rest.split_at_checked(length).ok_or(io::ErrorKind::InvalidData)?;
        row.push(Some(String::from_utf8_lossy(value).into_owned()));
        packet = rest;
    }
    Ok(row)
}
