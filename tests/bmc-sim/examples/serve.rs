//! Serves BMCs on loopback ports, which it prints, until it is ended: `cargo run -p kcloud-bmc-sim --example serve -- COUNT SENSORS`.
//! User `monitor`, password `secret1`; try `ipmitool -I lanplus -C 17 -H 127.0.0.1 -p PORT -U monitor -P secret1 -L USER sdr elist`.

use kcloud_bmc_sim::{Bmc, Model, Setup, serve};
use tokio::net::UdpSocket;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let number = |n: usize, otherwise: u8| std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(otherwise);
    for n in 0..number(1, 1) {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        println!("{}", socket.local_addr()?.port());
        let setup = Setup { model: Model::server(&format!("SN{n}"), number(2, 0)), ..Setup::default() };
        tokio::spawn(serve(Bmc::new(setup), socket));
    }
    std::future::pending().await
}
