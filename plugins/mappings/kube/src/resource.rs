//! Names and quantities of Kubernetes resources.

/// What an accelerator's resource counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Gpu,
    Npu,
}

/// A resource name as kube-state-metrics writes it: what is neither letter nor digit is `_`.
pub fn sanitised(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The class of a resource that device plugins offer, by its sanitised name; `None` for what is no device. A slice of a card (MIG,
/// a core range) is a device to the scheduler and counts as one. Shares of a card that are no devices (memory, cores in percent) do not.
pub fn class(resource: &str) -> Option<Class> {
    let begins = |all: &[&str]| all.iter().any(|p| resource.starts_with(p));
    // A name, or that name with a suffix after `_`.
    let is = |all: &[&str]| all.iter().any(|p| resource.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')));
    match () {
        _ if resource.ends_with("_monitoring") => None,
        _ if is(&["nvidia_com_gpu", "amd_com_gpu", "metax_tech_com_gpu", "hygon_com_dcu", "iluvatar_com_gpu", "mthreads_com_gpu"]) => {
            Some(Class::Gpu)
        }
        _ if begins(&["nvidia_com_mig_", "amd_com_spx_", "amd_com_dpx_", "amd_com_qpx_", "amd_com_cpx_"]) => Some(Class::Gpu),
        _ if is(&["gpu_intel_com_i915", "gpu_intel_com_xe"]) => Some(Class::Gpu),
        // `neuroncore` repeats the device by its cores.
        _ if is(&["aws_amazon_com_neuron", "habana_ai_gaudi", "google_com_tpu", "cambricon_com_mlu", "kunlunxin_com_xpu"]) => {
            Some(Class::Npu)
        }
        _ if begins(&[
            "furiosa_ai_",
            "rebellions_ai_",
            "tenstorrent_com_",
            "huawei_com_Ascend",
            "habana_ai_gaudi",
            "qualcomm_com_qaic",
        ]) =>
        {
            (!resource.ends_with("_memory")).then_some(Class::Npu)
        }
        _ => None,
    }
}

/// A quantity of the API in base units: `31850m`, `131788776Ki`, `8`, `1e3`. `None` for what is none.
pub fn quantity(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: f64 = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ if suffix.starts_with(['e', 'E']) => return text.parse().ok().filter(|v: &f64| v.is_finite()),
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    // A thousandth is no binary fraction: divided, it comes out as the number that a decimal text means.
    Some(if factor < 1.0 { number / (1.0 / factor).round() } else { number * factor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_suffix() {
        let cases = [
            ("8", Some(8.0)),
            ("31850m", Some(31.85)),
            ("0.5", Some(0.5)),
            ("131788776Ki", Some(131_788_776.0 * 1024.0)),
            ("16Gi", Some(17_179_869_184.0)),
            ("2G", Some(2e9)),
            ("1e3", Some(1e3)),
            ("12E6", Some(12e6)),
            ("3E", Some(3e18)),
            ("250u", Some(0.00025)),
            ("", None),
            ("Gi", None),
            ("12Qi", None),
            ("12 Gi", None),
        ];
        for (text, expected) in cases {
            // `3E` alone is a suffix, `3E2` an exponent.
            assert_eq!(quantity(text), expected, "{text}");
        }
    }

    #[test]
    fn devices_are_told_from_shares_of_them() {
        let cases = [
            ("nvidia.com/gpu", Some(Class::Gpu)),
            ("nvidia.com/gpu.shared", Some(Class::Gpu)),
            ("nvidia.com/mig-1g.5gb", Some(Class::Gpu)),
            ("nvidia.com/gpumem", None),
            ("amd.com/gpu", Some(Class::Gpu)),
            ("gpu.intel.com/i915", Some(Class::Gpu)),
            ("gpu.intel.com/i915_monitoring", None),
            ("gpu.intel.com/memory.max", None),
            ("furiosa.ai/rngd", Some(Class::Npu)),
            ("rebellions.ai/ATOM", Some(Class::Npu)),
            ("habana.ai/gaudi", Some(Class::Npu)),
            ("huawei.com/Ascend910", Some(Class::Npu)),
            ("google.com/tpu", Some(Class::Npu)),
            ("aws.amazon.com/neuron", Some(Class::Npu)),
            ("aws.amazon.com/neuroncore", None),
            ("cpu", None),
            ("ephemeral-storage", None),
            ("rdma/hca", None),
        ];
        for (name, expected) in cases {
            assert_eq!(class(&sanitised(name)), expected, "{name}");
        }
    }
}
