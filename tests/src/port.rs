//! Free ports that stay ours.
//!
//! Asking the system for port 0 gives an ephemeral one: once the server that held it is killed, any outgoing
//! connection may be given the same number, and the restart fails. So ports are drawn below the ephemeral range, and
//! while a [`Port`] lives, a UDP socket of the same number tells the other test processes that it is taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use rand::RngExt;

use crate::error::StartError;

/// A TCP port on 127.0.0.1 that no other test process will draw as long as this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    /// Draws one that nobody listens on.
    ///
    /// # Errors
    ///
    /// [`StartError::NoPort`] if hundreds of draws in a row were taken.
    pub fn draw() -> Result<Self, StartError> {
        (0..500).find_map(|_| Self::claim(rand::rng().random_range(10_000..=30_000))).ok_or(StartError::NoPort)
    }

    fn claim(number: u16) -> Option<Self> {
        let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        // Both, since containers are published on every address.
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _claim: claim })
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
