//! What a client is told when it is made: where the replicas are, and how long to wait.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use crate::error::ClientError;

/// How many endpoints a client may be given: its record of where a request went is a 64-bit set.
pub const ENDPOINTS_MAX: usize = 64;

/// How a replica is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A connection.
    #[default]
    Tcp,
    /// One request, one answer a datagram. What does not fit goes over TCP, if an endpoint for that is known.
    Udp,
}

impl Transport {
    /// What stands before an endpoint that is reached in this way.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp://",
            Self::Udp => "udp://",
        }
    }

    /// The port of replica 0 of a cluster on this machine, as `deploy.sh` starts it; the others follow.
    fn local_port(self) -> u16 {
        match self {
            Self::Tcp => 1111,
            Self::Udp => 5555,
        }
    }
}

/// Where one replica listens for clients: `tcp://host:port` or `udp://host:port`. The name is resolved again at every
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    transport: Transport,
    host: String,
    port: u16,
}

impl Endpoint {
    /// From `tcp://host:port`, `udp://host:port`, or `host:port`, which is reached over `transport`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str, transport: Transport) -> Result<Self, ClientError> {
        let bad = || ClientError::Endpoints(format!("{text:?} is no endpoint; host:port is one"));
        let bad_port = || {
            ClientError::Endpoints(format!(
                "{text:?} is no endpoint: a port is a number from 1 to 65535"
            ))
        };
        let named = [Transport::Tcp, Transport::Udp]
            .into_iter()
            .find_map(|named| Some((named, text.strip_prefix(named.scheme())?)));
        let (transport, rest) = named.unwrap_or((transport, text));
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || host.contains('/') {
            return Err(bad());
        }
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(bad_port)?;
        Ok(Self {
            transport,
            host: host.to_owned(),
            port,
        })
    }

    /// How it is reached.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses that the name has at this moment; may ask a name server.
    ///
    /// # Errors
    /// The name cannot be resolved.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transport == Transport::Udp {
            f.write_str(self.transport.scheme())?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        Self::parse(text, Transport::Tcp)
    }
}

/// What a client is told when it is made.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the replicas listen; 1 to [`ENDPOINTS_MAX`].
    pub endpoints: Vec<Endpoint>,
    /// Which of them is asked first.
    pub first: usize,
    /// How long one replica is given to answer before the next is asked.
    pub attempt_timeout: Duration,
    /// How long an operation is tried at all.
    pub timeout: Duration,
    /// Whether an operation is given up as soon as every endpoint has failed, each when it was asked last. Otherwise they
    /// are asked again until the time is up, as replicas may be starting.
    pub ask_each_once: bool,
    /// What the client calls itself in the logs of the replicas; longer than 64 bytes is cut.
    pub label: String,
    /// Whether to go to the replica that leads once it is known, which saves a hop per request.
    pub follow_leader: bool,
}

impl ClientOptions {
    /// The defaults of SPEC A3: 500 ms an attempt, 10 s in all, staying with the replica that answers.
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            first: 0,
            attempt_timeout: Duration::from_millis(500),
            timeout: Duration::from_secs(10),
            ask_each_once: false,
            label: String::new(),
            follow_leader: false,
        }
    }

    /// From `host:port,host:port,...`; each may begin with `tcp://`, which is meant where nothing is said, or with
    /// `udp://`.
    ///
    /// # Errors
    /// One of them is none.
    pub fn parse(list: &str) -> Result<Self, ClientError> {
        Self::parse_over(list, Transport::Tcp)
    }

    /// As [`Self::parse`], with the transport that is meant where nothing is said.
    ///
    /// # Errors
    /// One of them is none.
    pub fn parse_over(list: &str, transport: Transport) -> Result<Self, ClientError> {
        let endpoints: Result<_, _> = list
            .split(',')
            .map(|text| Endpoint::parse(text.trim(), transport))
            .collect();
        let options = Self::new(endpoints?);
        options.check()?;
        Ok(options)
    }

    /// The five replicas of a cluster on this machine, as `deploy.sh` starts them.
    #[must_use]
    pub fn local_cluster() -> Self {
        Self::local_cluster_over(Transport::Tcp)
    }

    /// The same, reached in this way.
    #[must_use]
    pub fn local_cluster_over(transport: Transport) -> Self {
        let endpoint = |replica| Endpoint {
            transport,
            host: "127.0.0.1".to_owned(),
            port: transport.local_port() + replica,
        };
        Self::new((0..5).map(endpoint).collect())
    }

    /// Whether a request may go over UDP, where no order holds between requests that are outstanding together.
    #[must_use]
    pub fn uses_datagrams(&self) -> bool {
        let is_datagrams = |endpoint: &Endpoint| endpoint.transport == Transport::Udp;
        self.endpoints.iter().any(is_datagrams)
    }

    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return Err(ClientError::Endpoints(format!(
                "{} endpoints are given; 1 to {ENDPOINTS_MAX} can be used",
                self.endpoints.len()
            )));
        }
        if self.first >= self.endpoints.len() {
            return Err(ClientError::Endpoints(format!(
                "endpoint {} is to be asked first; there are {}",
                self.first,
                self.endpoints.len()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_endpoints_is_parsed() {
        let shown = |options: &ClientOptions| -> Vec<String> {
            options.endpoints.iter().map(Endpoint::to_string).collect()
        };
        let list = "127.0.0.1:1111, udp://localhost:2,tcp://[::1]:3";
        let options = ClientOptions::parse(list).unwrap();
        assert_eq!(
            shown(&options),
            ["127.0.0.1:1111", "udp://localhost:2", "[::1]:3"]
        );
        let options = ClientOptions::parse_over(list, Transport::Udp).unwrap();
        assert_eq!(
            shown(&options),
            ["udp://127.0.0.1:1111", "udp://localhost:2", "[::1]:3"]
        );
        let local = ClientOptions::local_cluster_over(Transport::Udp);
        assert_eq!(shown(&local)[4], "udp://127.0.0.1:5559");
        assert!(local.uses_datagrams() && !ClientOptions::local_cluster().uses_datagrams());
    }

    #[test]
    fn what_is_no_endpoint_is_named() {
        for list in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:1,",
            "udp://a",
            "ftp://a:1",
        ] {
            let error = ClientOptions::parse(list).unwrap_err().to_string();
            assert!(error.contains("is no endpoint"), "{list}: {error}");
            let is_about_the_port = ["a:", "a:0", "a:65536"].contains(&list);
            let says_so = error.contains("from 1 to 65535");
            assert_eq!(says_so, is_about_the_port, "{list}: {error}");
        }
    }
}
