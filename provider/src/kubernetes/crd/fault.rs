//! API servers that fall over any object of a kind that is not built in.
//!
//! Up to Kubernetes 1.22 the API server contains a JSON library that does not fit Go 1.18 and newer:
//! with those it ends with a memory fault as soon as such an object is read or written, and takes
//! the cluster with it. Kubernetes itself released none of these, but distributions did: Debian 12 has
//! 1.20 built with Go 1.19. There, functions are not made objects.

use k8s_openapi::apimachinery::pkg::version::Info;

/// The first minor version of Kubernetes 1 that goes with every Go.
const SOUND_SINCE: u32 = 23;
/// The first minor version of Go 1 that does not go with what was before it.
const FAULTY_SINCE: u32 = 18;

/// Whether this API server must not be given such objects.
pub(super) fn is_faulty(server: &Info) -> bool {
    let minor = leading(&server.minor);
    let go = server.go_version.strip_prefix("go1.").and_then(leading);
    let old = server.major == "1" && minor.is_some_and(|minor| minor < SOUND_SINCE);
    old && go.is_some_and(|go| go >= FAULTY_SINCE)
}

/// The number that a text begins with: some servers say `20+`.
fn leading(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_servers_of_newer_compilers_are_faulty() {
        for (minor, go, faulty) in [
            ("20", "go1.19.8", true),
            ("22+", "go1.18", true),
            ("20", "go1.15.5", false),
            ("20+", "go1.17rc1", false),
            ("23", "go1.19", false),
            ("33", "go1.24.2", false),
            ("", "", false),
        ] {
            let server = Info {
                major: "1".to_owned(),
                minor: minor.to_owned(),
                go_version: go.to_owned(),
                ..Info::default()
            };
            assert_eq!(is_faulty(&server), faulty, "{minor} {go}");
        }
    }
}
