//! A BMC's Redfish service: the tree of one chassis and one system, in the old resources or the new ones. Read only.

use serde_json::{Value, json};

use crate::bmc::RedfishShape;
use crate::{BmcTruth, Fleet, Moment, SensorTruth};

/// The resource at a path, without the slash at its end. `None` is 404.
pub(crate) fn resource(fleet: &Fleet, node: usize, moment: Moment, path: &str) -> Option<Value> {
    let at = &fleet.nodes[node];
    let shape = at.bmc.redfish?;
    let power = fleet.power(node, moment.tick);
    let bmc = fleet.bmc(node, moment, &power);
    let watts = power.server_milliwatts as f64 / 1e3;
    let joules = fleet.node_integral(node, moment, |p| p.server_milliwatts) / 1e3;
    let rest = path.strip_prefix("/redfish/v1").unwrap_or_default();
    let mut body = match rest {
        "" => json!({
            "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot", "Id": "RootService", "Name": "Root Service", "RedfishVersion": "1.17.0",
            "Product": "Contoso BMC", "UUID": at.system_uuid(), "Chassis": link("/Chassis"), "Systems": link("/Systems"),
            "Managers": link("/Managers"), "SessionService": link("/SessionService"),
            "Links": { "Sessions": link("/SessionService/Sessions") },
        }),
        "/Chassis" => collection(&["/Chassis/1".into()]),
        "/Systems" => collection(&["/Systems/1".into()]),
        "/Managers" => collection(&["/Managers/BMC".into()]),
        "/Managers/BMC" => json!({ "Id": "BMC", "Name": "Manager", "ManagerType": "BMC", "FirmwareVersion": "1.74", "Status": ok(),
            "Links": { "ManagerForChassis": [link("/Chassis/1")], "ManagerForServers": [link("/Systems/1")] } }),
        "/Systems/1" => json!({
            "@odata.type": "#ComputerSystem.v1_22_0.ComputerSystem", "Id": "1", "Name": "System", "HostName": at.name, "UUID": at.system_uuid(),
            "Manufacturer": "Contoso", "Model": "G8", "SerialNumber": format!("S{:08X}", at.bmc.id as u32), "PowerState": "On", "Status": ok(),
            "Links": { "Chassis": [link("/Chassis/1")] },
        }),
        "/Chassis/1" => chassis(at.bmc.id, shape),
        _ => return inner(rest.strip_prefix("/Chassis/1")?, shape, &bmc, watts, joules).map(|b| identified(b, path)),
    };
    body = identified(body, path);
    Some(body)
}

fn identified(mut body: Value, path: &str) -> Value {
    body["@odata.id"] = path.into();
    body
}

fn link(path: &str) -> Value {
    json!({ "@odata.id": format!("/redfish/v1{path}") })
}

fn ok() -> Value {
    json!({ "State": "Enabled", "Health": "OK" })
}

fn status(sensor: &SensorTruth) -> Value {
    let health = match &*sensor.state {
        "normal" => "OK",
        "warning" => "Warning",
        _ => "Critical",
    };
    json!({ "State": "Enabled", "Health": health })
}

fn collection(members: &[String]) -> Value {
    let links: Vec<Value> = members.iter().map(|m| link(m)).collect();
    json!({ "@odata.type": "#Collection.Collection", "Name": "Collection", "Members@odata.count": members.len(), "Members": links })
}

fn chassis(id: u64, shape: RedfishShape) -> Value {
    let mut body = json!({
        "@odata.type": "#Chassis.v1_25_0.Chassis", "Id": "1", "Name": "Computer System Chassis", "ChassisType": "RackMount",
        "Manufacturer": "Contoso", "Model": "G8", "SKU": "G8-2", "SerialNumber": format!("C{:08X}", id as u32), "PowerState": "On",
        "Status": ok(), "Links": { "ComputerSystems": [link("/Systems/1")], "ManagedBy": [link("/Managers/BMC")] },
    });
    let parts: &[&str] = match shape {
        RedfishShape::Old => &["Thermal", "Power"],
        RedfishShape::New => &["ThermalSubsystem", "PowerSubsystem", "EnvironmentMetrics", "Sensors"],
    };
    for part in parts {
        body[*part] = link(&format!("/Chassis/1/{part}"));
    }
    body
}

fn inner(path: &str, shape: RedfishShape, bmc: &BmcTruth, watts: f64, joules: f64) -> Option<Value> {
    match shape {
        RedfishShape::Old => old(path, bmc, watts),
        RedfishShape::New => new(path, bmc, watts, joules),
    }
}

fn old(path: &str, bmc: &BmcTruth, watts: f64) -> Option<Value> {
    let member = |kind: &str, n: usize| json!(format!("/redfish/v1/Chassis/1/{kind}/{n}"));
    let each = |sensors: &[SensorTruth], kind: &str, of: &dyn Fn(&SensorTruth) -> Value| -> Vec<Value> {
        let row = |(n, s): (usize, &SensorTruth)| {
            let mut row = of(s);
            row["@odata.id"] = member(kind, n);
            row["MemberId"] = n.to_string().into();
            row["Name"] = s.name.as_str().into();
            row["Status"] = status(s);
            row
        };
        sensors.iter().enumerate().map(row).collect()
    };
    match path {
        "/Thermal" => Some(json!({ "@odata.type": "#Thermal.v1_7_1.Thermal", "Id": "Thermal", "Name": "Thermal",
            "Temperatures": each(&bmc.temperatures, "Thermal#/Temperatures", &|s| json!({
                "ReadingCelsius": s.value, "UpperThresholdNonCritical": 85, "UpperThresholdCritical": 95,
                "PhysicalContext": if s.name.starts_with("Inlet") { "Intake" } else { "SystemBoard" } })),
            "Fans": each(&bmc.fans, "Thermal#/Fans", &|s| json!({
                "Reading": s.value, "ReadingUnits": "RPM", "LowerThresholdNonCritical": 1_000, "LowerThresholdCritical": 500 })) })),
        "/Power" => {
            let mut supplies = each(&bmc.supplies, "Power#/PowerSupplies", &|s| {
                json!({
                "PowerInputWatts": s.value, "PowerOutputWatts": (s.value * 0.94).round(), "PowerCapacityWatts": 3_000, "LineInputVoltage": 230,
                "Manufacturer": "Contoso", "Model": "P3000" })
            });
            // A bay without a supply.
            supplies.push(json!({ "@odata.id": member("Power#/PowerSupplies", supplies.len()), "MemberId": supplies.len().to_string(),
                "Name": format!("PSU{}", supplies.len() + 1), "PowerInputWatts": null, "Status": { "State": "Absent" } }));
            Some(json!({ "@odata.type": "#Power.v1_7_1.Power", "Id": "Power", "Name": "Power",
                "PowerControl": [{ "@odata.id": member("Power#/PowerControl", 0), "MemberId": "0", "Name": "System Power Control",
                    "PowerConsumedWatts": watts, "PowerCapacityWatts": 12_000, "PowerLimit": { "LimitInWatts": null }, "Status": ok() }],
                "PowerSupplies": supplies,
                "Voltages": each(&bmc.voltages, "Power#/Voltages", &|s| json!({ "ReadingVolts": s.value })) }))
        }
        _ => None,
    }
}

fn new(path: &str, bmc: &BmcTruth, watts: f64, joules: f64) -> Option<Value> {
    let numbered = |path: &str, n: usize| (1..=n).map(|k| format!("/Chassis/1{path}/{k}")).collect::<Vec<_>>();
    let at = |prefix: &str, of: &[SensorTruth]| {
        let n = path.strip_prefix(prefix)?.parse::<usize>().ok()?.checked_sub(1)?;
        of.get(n).cloned().map(|s| (n + 1, s))
    };
    let sensors: Vec<SensorTruth> = bmc.temperatures.iter().chain(&bmc.voltages).cloned().collect();
    let body = match path {
        "/EnvironmentMetrics" => json!({ "Id": "EnvironmentMetrics", "Name": "Chassis Environment Metrics",
            "PowerWatts": { "Reading": watts }, "EnergykWh": { "Reading": joules / 3_600_000.0 },
            "TemperatureCelsius": { "Reading": bmc.temperatures[2].value }, "PowerLimitWatts": { "SetPoint": null, "ControlMode": "Disabled" } }),
        "/PowerSubsystem" => json!({ "Id": "PowerSubsystem", "Name": "Power Subsystem", "CapacityWatts": 12_000, "Status": ok(),
            "PowerSupplies": link("/Chassis/1/PowerSubsystem/PowerSupplies") }),
        "/PowerSubsystem/PowerSupplies" => collection(&numbered("/PowerSubsystem/PowerSupplies", bmc.supplies.len())),
        "/ThermalSubsystem" => json!({ "Id": "ThermalSubsystem", "Name": "Thermal Subsystem", "Status": ok(),
            "Fans": link("/Chassis/1/ThermalSubsystem/Fans"), "ThermalMetrics": link("/Chassis/1/ThermalSubsystem/ThermalMetrics") }),
        "/ThermalSubsystem/Fans" => collection(&numbered("/ThermalSubsystem/Fans", bmc.fans.len())),
        "/ThermalSubsystem/ThermalMetrics" => json!({ "Id": "ThermalMetrics", "Name": "Thermal Metrics",
            "TemperatureSummaryCelsius": { "Intake": { "Reading": bmc.temperatures[2].value }, "Exhaust": { "Reading": bmc.temperatures[3].value } } }),
        "/Sensors" => collection(&numbered("/Sensors", sensors.len())),
        _ => {
            if let Some((n, fan)) = at("/ThermalSubsystem/Fans/", &bmc.fans) {
                json!({ "@odata.type": "#Fan.v1_5_0.Fan", "Id": n.to_string(), "Name": fan.name, "Status": status(&fan),
                    "SpeedPercent": { "Reading": (fan.value / 120.0).round(), "SpeedRPM": fan.value } })
            } else if let Some((n, s)) = at("/Sensors/", &sensors) {
                let is_heat = s.kind == "temperature";
                json!({ "@odata.type": "#Sensor.v1_9_0.Sensor", "Id": n.to_string(), "Name": s.name, "Status": status(&s), "Reading": s.value,
                    "ReadingType": if is_heat { "Temperature" } else { "Voltage" }, "ReadingUnits": if is_heat { "Cel" } else { "V" },
                    "Thresholds": if is_heat { json!({ "UpperCaution": { "Reading": 85 }, "UpperCritical": { "Reading": 95 } }) } else { json!({}) } })
            } else if let Some((n, psu)) = path.strip_suffix("/Metrics").and_then(|_| {
                let n = path.strip_prefix("/PowerSubsystem/PowerSupplies/")?.strip_suffix("/Metrics")?.parse::<usize>().ok()?;
                bmc.supplies.get(n.checked_sub(1)?).map(|s| (n, s))
            }) {
                json!({ "Id": "Metrics", "Name": format!("Metrics of supply {n}"), "InputPowerWatts": { "Reading": psu.value },
                    "OutputPowerWatts": { "Reading": (psu.value * 0.94).round() }, "InputVoltage": { "Reading": 230.0 },
                    "InputCurrentAmps": { "Reading": bmc.currents[n - 1].value }, "Status": ok() })
            } else {
                let (n, psu) = at("/PowerSubsystem/PowerSupplies/", &bmc.supplies)?;
                json!({ "@odata.type": "#PowerSupply.v1_6_0.PowerSupply", "Id": n.to_string(), "Name": psu.name, "Manufacturer": "Contoso",
                    "Model": "P3000", "SerialNumber": format!("P{n:04}"), "PowerCapacityWatts": 3_000, "Status": ok(),
                    "Metrics": link(&format!("/Chassis/1/PowerSubsystem/PowerSupplies/{n}/Metrics")) })
            }
        }
    };
    Some(body)
}
