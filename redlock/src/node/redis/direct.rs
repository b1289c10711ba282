//! A connection over plain bytes, whose traffic is moved by whoever polls it: no task stands
//! between a request and its socket, and no allocation between a request and its bytes.

use std::pin::Pin;
use std::task::{Context, Poll};

use redis::{RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::command::Command;
use super::resp;
use super::wire::Wire;

/// How much is read at once.
const CHUNK: usize = 16 * 1024;
/// Longest answer that is waited for. Foreign values under a lock key are all that could be long.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A socket, what is still to be written to it, and what has been read and not understood yet.
pub(super) struct Direct<S> {
    socket: S,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    used: usize,
}

impl<S> Direct<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, out: Vec::new(), written: 0, input: Vec::new(), used: 0 }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for Direct<S> {
    fn send(&mut self, command: &Command) {
        command.write(&mut self.out);
    }

    fn is_for_all(&self) -> bool {
        true
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<Value>> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            match self.next() {
                Ok(Some(value)) => return Poll::Ready(Ok(value)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Direct<S> {
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.written < self.out.len() {
            let bytes = &self.out[self.written..];
            let socket = Pin::new(&mut self.socket);
            match socket.poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.used > 0 {
            self.input.drain(..self.used);
            self.used = 0;
        }
        if self.input.len() > MOST_BYTES {
            return Poll::Ready(Err(std::io::Error::other("the answer is too long")));
        }
        let mut space = [std::mem::MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut space);
        match Pin::new(&mut self.socket).poll_read(cx, &mut chunk) {
            Poll::Ready(Ok(())) if chunk.filled().is_empty() => {
                Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => {
                self.input.extend_from_slice(chunk.filled());
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    /// The next whole value that has come.
    fn next(&mut self) -> RedisResult<Option<Value>> {
        let Some((answer, length)) = resp::read(&self.input[self.used..])? else {
            return Ok(None);
        };
        self.used += length;
        answer.map(Some)
    }
}
