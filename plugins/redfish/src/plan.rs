//! Which chassis is a server's whole, which lies in which, and to which node each belongs.

use serde_json::Value;

use crate::value::{link, text};

/// What stands alone, of the types that the schema names.
const WHOLE: [&str; 8] = ["RackMount", "StandAlone", "Blade", "Sled", "Node", "Server", "Tower", "Desktop"];

/// Where a chassis hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Under {
    Node(String),
    /// By its place among the chassis.
    Chassis(usize),
    Nothing,
}

/// The node of each system. Where a target names one, or only one system says its name (an accelerators' board beside its host), it
/// is everybody's.
pub(crate) fn nodes(target: Option<&str>, systems: &[Value]) -> Vec<Option<String>> {
    let named: Vec<Option<String>> = systems.iter().map(host_name).collect();
    let mut known: Vec<&String> = named.iter().flatten().collect();
    known.dedup();
    match (target, known.as_slice()) {
        (Some(node), _) => vec![Some(node.to_owned()); systems.len()],
        (None, [one]) => vec![Some((*one).clone()); systems.len()],
        _ => named,
    }
}

fn host_name(system: &Value) -> Option<String> {
    text(&system["HostName"]).filter(|name| !name.starts_with("localhost") && !name.starts_with('('))
}

/// Where each chassis hangs. Exactly one is below a node; what else is the node's and lies in nothing lies in that one, so that its watts
/// are not the server's a second time.
pub(crate) fn places(target: Option<&str>, chassis: &[Value], systems: &[Value]) -> Vec<Under> {
    let nodes = nodes(target, systems);
    let all: Vec<&String> = nodes.iter().flatten().collect();
    let only = match (target, all.as_slice()) {
        (Some(node), _) => Some(node.to_owned()),
        (None, [first, rest @ ..]) if rest.iter().all(|n| n == first) && nodes.iter().all(Option::is_some) => Some((*first).clone()),
        _ => None,
    };
    let of_chassis: Vec<Option<String>> = chassis.iter().map(|c| only.clone().or_else(|| node_of(c, systems, &nodes))).collect();
    let containers: Vec<Option<usize>> = (0..chassis.len()).map(|i| container(chassis, i)).collect();
    let mut under: Vec<Under> = containers.iter().map(|c| c.map_or(Under::Nothing, Under::Chassis)).collect();
    let mut done: Vec<&String> = Vec::new();
    for node in of_chassis.iter().flatten() {
        if done.contains(&node) {
            continue;
        }
        done.push(node);
        let is_own = |i: &usize| of_chassis[*i].as_ref() == Some(node);
        // Its own that lie in none of its own.
        let tops: Vec<usize> = (0..chassis.len()).filter(|i| is_own(i) && !containers[*i].is_some_and(|c| is_own(&c))).collect();
        let rank = |i: &&usize| {
            let c = &chassis[**i];
            let linked = systems.iter().any(|s| link(&s["Links"]["Chassis"][0]).is_some_and(|p| Some(p) == link(c)));
            let type_rank = c["ChassisType"].as_str().is_some_and(|t| WHOLE.contains(&t));
            (!linked, !type_rank, **i)
        };
        let Some(primary) = tops.iter().min_by_key(rank).copied() else { continue };
        under[primary] = Under::Node(node.clone());
        tops.iter().filter(|i| **i != primary && containers[**i].is_none()).for_each(|i| under[*i] = Under::Chassis(primary));
    }
    under
}

/// The one node whose system a chassis holds.
fn node_of(chassis: &Value, systems: &[Value], nodes: &[Option<String>]) -> Option<String> {
    let own = link(chassis);
    let holds = |s: &Value| {
        let named = s["Links"]["Chassis"].as_array().into_iter().flatten().any(|c| link(c) == own);
        let back = chassis["Links"]["ComputerSystems"].as_array().into_iter().flatten().any(|c| link(c).is_some() && link(c) == link(s));
        named || back
    };
    let mut found: Vec<&String> = systems.iter().zip(nodes).filter(|(s, _)| holds(s)).filter_map(|(_, n)| n.as_ref()).collect();
    found.dedup();
    match found.as_slice() {
        [one] => Some((*one).clone()),
        _ => None,
    }
}

/// What a chassis lies in, unless following that leads back to it.
fn container(chassis: &[Value], of: usize) -> Option<usize> {
    let direct = |i: usize| {
        let own = link(&chassis[i])?;
        let place = |path: Option<&str>| path.and_then(|p| chassis.iter().position(|c| link(c) == Some(p)));
        let holds = |c: &Value| c["Links"]["Contains"].as_array().into_iter().flatten().any(|l| link(l) == Some(own));
        place(link(&chassis[i]["Links"]["ContainedBy"])).or_else(|| chassis.iter().position(holds)).filter(|found| *found != i)
    };
    let first = direct(of)?;
    let mut at = Some(first);
    for _ in 0..chassis.len() {
        match at {
            Some(i) if i == of => return None,
            Some(i) => at = direct(i),
            None => return Some(first),
        }
    }
    None
}
