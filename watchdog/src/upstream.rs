//! Where a function that serves HTTP itself can be reached.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use relay::Target;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};

use crate::appear::Appearance;

/// Shortest and longest pause between two tries to connect to a function that is starting.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A pause is this part of the time that the start has taken so far: little is lost by it, however
/// long the start takes.
const PAUSE_PART: u32 = 16;

/// How long one try may take: a function is on this machine, so silence is no answer.
pub(crate) const TRY: Duration = Duration::from_secs(1);

/// `upstream_url`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub(crate) place: Place,
    /// What comes before the request's path; empty or without a slash at its end.
    base: String,
}

/// An address. What it leaves open is for [`Room`](crate::room::Room) to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A socket; empty when any will do.
    Unix(PathBuf),
    /// A port; 0 when any will do.
    Tcp { host: String, port: u16 },
}

impl Upstream {
    /// Reads `http://host:port/base` or `unix:/path`. Port 0 is any free one, and `unix:` alone any
    /// socket.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') || text == "unix:" {
                true => Ok(Self { place: Place::Unix(path.into()), base: String::new() }),
                false => Err("the path of a unix socket must be absolute"),
            };
        }
        let uri: Uri = text.parse().map_err(|_| "not a URL")?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err("must begin with http:// or unix:");
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let place = Place::Tcp { host, port: uri.port_u16().unwrap_or(80) };
        Ok(Self { place, base: uri.path().trim_end_matches('/').to_owned() })
    }

    /// The function's path for a request's; `None` when they are the same.
    pub fn path(&self, uri: &Uri) -> Option<PathAndQuery> {
        if self.base.is_empty() {
            return None;
        }
        let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        format!("{}{asked}", self.base).parse().ok()
    }

    /// Returns as soon as something accepts connections there. What comes with it is of no more
    /// use, but takes long to drop: keep it.
    pub async fn accepting(&self) -> (Target, Option<Appearance>) {
        let mut appearance = match &self.place {
            Place::Unix(path) => Appearance::of(path).ok(),
            Place::Tcp { .. } => None,
        };
        let mut since = Instant::now();
        let target = loop {
            if let Some(target) = self.probe().await {
                break target;
            }
            let pause = (since.elapsed() / PAUSE_PART).clamp(PAUSES.0, PAUSES.1);
            let appears = async {
                match &mut appearance {
                    Some(appearance) => appearance.wait().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                // It is there, and is about to accept connections.
                () = appears => since = Instant::now(),
                () = sleep(pause) => (),
            }
        };
        if let Some(appearance) = &mut appearance {
            appearance.stop();
        }
        (target, appearance)
    }

    /// Where something accepts connections now.
    async fn probe(&self) -> Option<Target> {
        for target in self.targets().await.unwrap_or_default() {
            if let Ok(Ok(())) = timeout(TRY, target.probe()).await {
                return Some(target);
            }
        }
        None
    }

    /// Where it may be. `localhost` is known without a resolver, which an empty image lacks.
    async fn targets(&self) -> io::Result<Vec<Target>> {
        let (host, port) = match &self.place {
            Place::Unix(path) => return Ok(vec![Target::unix(path)]),
            Place::Tcp { host, port } => (host.as_str(), *port),
        };
        let addresses = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) if host.eq_ignore_ascii_case("localhost") => {
                vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
            }
            Err(_) => lookup_host((host, port)).await?.collect(),
        };
        Ok(addresses.into_iter().map(Target::from).collect())
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Tcp { host, port } if host.contains(':') => {
                write!(f, "http://[{host}]:{port}{}", self.base)
            }
            Place::Tcp { host, port } => write!(f, "http://{host}:{port}{}", self.base),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(base: &str, asked: &str) -> Option<String> {
        let upstream = Upstream::parse(base).expect("good");
        upstream.path(&asked.parse().expect("a URI")).map(|path| path.to_string())
    }

    #[test]
    fn the_base_comes_before_the_path() {
        assert_eq!(path("http://127.0.0.1:3000", "/a?b"), None);
        assert_eq!(path("http://127.0.0.1:3000/", "/a?b"), None);
        assert_eq!(path("http://127.0.0.1:3000/x/", "/a%2Fb?c"), Some("/x/a%2Fb?c".into()));
        assert_eq!(path("unix:/run/a.sock", "/a"), None);
    }

    #[test]
    fn only_places_on_this_side_of_tls() {
        for text in
            ["", "127.0.0.1:3000", "https://a", "unix:a.sock", "unix://", "http://", "ftp://a"]
        {
            assert!(Upstream::parse(text).is_err(), "{text}");
        }
        for text in ["http://localhost:3000", "http://[::1]:80", "unix:/a", "unix:"] {
            assert_eq!(Upstream::parse(text).map(|u| u.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Upstream::parse("unix:///a"), Upstream::parse("unix:/a"));
        let base = Upstream::parse("http://a/b/").map(|u| u.to_string());
        assert_eq!(base, Ok("http://a:80/b".to_owned()));
    }
}
