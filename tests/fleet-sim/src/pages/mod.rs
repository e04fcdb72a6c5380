//! The pages of the exporters, each as its real one writes it.

pub(crate) mod cadvisor;
pub(crate) mod facility;
pub(crate) mod ipmi;
pub(crate) mod kepler;
pub(crate) mod kube_state_metrics;
pub(crate) mod libvirt;
pub(crate) mod node_exporter;
pub(crate) mod openstack;
