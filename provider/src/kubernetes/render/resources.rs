//! How much of a node a function may use, and how much is set aside for it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{Error, Function, Resources, Result};

/// Suffixes of memory that mean the same to Kubernetes.
const SUFFIXES: [&str; 8] = ["Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"];

type Amounts = BTreeMap<String, Quantity>;

/// The function's resources; what it leaves open is taken from `profile`. An error names the field.
pub(super) fn resources(
    function: &Function,
    profile: Option<&ResourceRequirements>,
) -> Result<Option<ResourceRequirements>> {
    let mut limits = amounts("limits", function.limits.as_ref())?;
    let mut requests = amounts("requests", function.requests.as_ref())?;
    check_order(function)?;
    for (own, others) in [
        (&mut limits, profile.and_then(|p| p.limits.clone())),
        (&mut requests, profile.and_then(|p| p.requests.clone())),
    ] {
        for (key, amount) in others.into_iter().flatten() {
            own.entry(key).or_insert(amount);
        }
    }
    // Devices are not shared: Kubernetes wants a limit, and no other request.
    for (key, amount) in requests.iter().filter(|(key, _)| key.contains('/')) {
        limits.entry(key.clone()).or_insert_with(|| amount.clone());
    }
    if limits.is_empty() && requests.is_empty() {
        return Ok(None);
    }
    let some = |amounts: Amounts| (!amounts.is_empty()).then_some(amounts);
    Ok(Some(ResourceRequirements {
        limits: some(limits),
        requests: some(requests),
        ..ResourceRequirements::default()
    }))
}

fn amounts(field: &str, resources: Option<&Resources>) -> Result<Amounts> {
    let Some(resources) = resources else { return Ok(Amounts::new()) };
    let devices = [
        ("nvidia.com/gpu", &resources.nvidia_gpu),
        ("amd.com/gpu", &resources.amd_gpu),
        ("intel.com/gpu", &resources.intel_gpu),
    ];
    let mut all = Amounts::new();
    for (key, text) in devices {
        if let Some(count) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            all.insert(key.to_owned(), devices_of(&format!("{field}.{key}"), count)?);
        }
    }
    let memory = resources.memory.as_deref().zip(resources.memory_bytes());
    all.extend(memory.map(|(text, bytes)| ("memory".to_owned(), memory_of(text, bytes))));
    let cpu = resources.cpu_millicores();
    all.extend(cpu.map(|millicores| ("cpu".to_owned(), cpu_of(millicores))));
    Ok(all)
}

/// A request above its limit is known before the API server says so.
fn check_order(function: &Function) -> Result<()> {
    let (Some(limits), Some(requests)) = (&function.limits, &function.requests) else {
        return Ok(());
    };
    let pairs = [
        ("memory", requests.memory_bytes(), limits.memory_bytes(), &requests.memory),
        ("cpu", requests.cpu_millicores(), limits.cpu_millicores(), &requests.cpu),
    ];
    for (key, request, limit, text) in pairs {
        if request.zip(limit).is_some_and(|(request, limit)| request > limit) {
            let text = text.as_deref().unwrap_or_default();
            let reason = format!("{text:?} is more than limits.{key}");
            return Err(Error::invalid(format!("requests.{key}"), reason));
        }
    }
    Ok(())
}

fn devices_of(field: &str, text: &str) -> Result<Quantity> {
    match text.parse::<u32>() {
        Ok(count) => Ok(Quantity(count.to_string())),
        Err(_) => Err(Error::invalid(field, format!("{text:?} is not a whole number of devices"))),
    }
}

/// As it was written where Kubernetes means the same by it; `512m` are mebibytes to us, as to
/// Docker, and half a byte to Kubernetes.
fn memory_of(text: &str, bytes: u64) -> Quantity {
    let text = text.trim();
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    let same = SUFFIXES.iter().any(|suffix| {
        text.strip_suffix(suffix).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    });
    Quantity(if plain || same { text.to_owned() } else { bytes.to_string() })
}

fn cpu_of(millicores: u64) -> Quantity {
    Quantity(match millicores % 1000 {
        0 => (millicores / 1000).to_string(),
        _ => format!("{millicores}m"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Option<ResourceRequirements>> {
        let body = format!(r#"{{"service":"f","image":"i",{body}}}"#);
        resources(&Function::from_json(body.as_bytes()).unwrap(), None)
    }

    fn limit(body: &str, key: &str) -> String {
        of(body).unwrap().unwrap().limits.unwrap()[key].0.clone()
    }

    #[test]
    fn amounts_mean_to_kubernetes_what_they_mean_to_us() {
        for (text, want) in [
            ("128Mi", "128Mi"),
            ("64M", "64M"),
            ("1048576", "1048576"),
            ("512m", "536870912"),
            ("1.5Gi", "1610612736"),
            ("64kb", "65536"),
            ("1e6", "1000000"),
        ] {
            assert_eq!(limit(&format!(r#""limits":{{"memory":"{text}"}}"#), "memory"), want);
        }
        for (text, want) in [("100m", "100m"), ("0.5", "500m"), ("2.0", "2"), ("1.5", "1500m")] {
            assert_eq!(limit(&format!(r#""limits":{{"cpu":"{text}"}}"#), "cpu"), want);
        }
    }

    #[test]
    fn devices_always_have_a_limit() {
        assert_eq!(limit(r#""requests":{"nvidia.com/gpu":"2"}"#, "nvidia.com/gpu"), "2");
        let error = of(r#""limits":{"amd.com/gpu":"half"}"#).unwrap_err().to_string();
        assert!(error.starts_with("limits.amd.com/gpu: "), "{error}");
    }

    #[test]
    fn a_request_above_its_limit_is_named() {
        let error = of(r#""limits":{"cpu":"100m"},"requests":{"cpu":"1"}"#).unwrap_err();
        assert_eq!(error.to_string(), "requests.cpu: \"1\" is more than limits.cpu");
        assert!(of(r#""limits":{"memory":"1Gi"},"requests":{"memory":"1024Mi"}"#).is_ok());
    }

    #[test]
    fn a_profile_fills_what_is_open() {
        let amount = |text: &str| Quantity(text.to_owned());
        let profile = ResourceRequirements {
            limits: Some(
                [("memory", "1Gi"), ("cpu", "4")].map(|(k, v)| (k.to_owned(), amount(v))).into(),
            ),
            ..ResourceRequirements::default()
        };
        let body = br#"{"service":"f","image":"i","limits":{"memory":"64Mi"}}"#;
        let function = Function::from_json(body).unwrap();
        let limits = resources(&function, Some(&profile)).unwrap().unwrap().limits.unwrap();
        assert_eq!((limits["memory"].0.as_str(), limits["cpu"].0.as_str()), ("64Mi", "4"));
        assert_eq!(of(r#""limits":{"memory":""}"#).unwrap(), None);
    }
}
