//! Amounts of memory and processor, as Kubernetes and Docker write them.

/// Suffixes of memory. Lower case is Docker's habit and means binary units there.
const MEMORY: [(&str, f64); 17] = [
    ("Ki", 1024.0),
    ("Mi", 1048576.0),
    ("Gi", 1073741824.0),
    ("Ti", 1099511627776.0),
    ("kb", 1024.0),
    ("mb", 1048576.0),
    ("gb", 1073741824.0),
    ("k", 1e3),
    ("K", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("m", 1048576.0),
    ("g", 1073741824.0),
    ("b", 1.0),
    ("B", 1.0),
    ("", 1.0),
];

/// Bytes of `128Mi`, `64M`, `1Gi`, `1e6`, `512m`. `None` when it is no positive amount.
///
/// Units: Kubernetes quantities; a small `m` and `g` are mebibytes and gibibytes as in Docker,
/// since a thousandth of a byte is never meant.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (suffix, scale) = MEMORY.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    let bytes = positive(text.strip_suffix(suffix)?)? * scale;
    // As a float, the largest number of 63 bits is one too many.
    (bytes >= 1.0 && bytes < i64::MAX as f64).then_some(bytes as u64)
}

/// Thousandths of a core in `100m`, `0.5`, `2`. `None` when it is no positive amount.
pub fn parse_millicores(text: &str) -> Option<u64> {
    let text = text.trim();
    let millicores = match text.strip_suffix('m') {
        Some(number) => positive(number)?,
        None => positive(text)? * 1000.0,
    };
    (1.0..=1e9).contains(&millicores).then_some(millicores as u64)
}

fn positive(text: &str) -> Option<f64> {
    let starts_well = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse::<f64>().ok().filter(|n| starts_well && n.is_finite() && *n > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_signed_number_for_the_engines() {
        assert_eq!(parse_bytes("9223372036854774784"), Some(i64::MAX as u64 - 1023));
        for text in ["9223372036854775806", "9223372036854775807", "9e18Ki", "1e999"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn memory() {
        let cases = [
            ("128Mi", 134_217_728),
            ("64M", 64_000_000),
            ("1Gi", 1_073_741_824),
            ("512m", 536_870_912),
            ("1048576", 1_048_576),
            ("1e6", 1_000_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "Mi", "-1Mi", "0", "lots", "inf", "1Pb"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn cores() {
        for (text, millicores) in [("100m", 100), ("0.5", 500), ("2", 2000)] {
            assert_eq!(parse_millicores(text), Some(millicores), "{text}");
        }
        for text in ["", "m", "0", "-1", "0.0001", "nan"] {
            assert_eq!(parse_millicores(text), None, "{text}");
        }
    }
}
