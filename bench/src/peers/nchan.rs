//! nchan: an nginx with one channel, in one process.

use std::path::Path;

use anyhow::Result;

use crate::harness::process::{Core, Server, command, free_port};

/// Where one publishes, as a WebSocket.
pub const PUBLISH: &str = "/pub";
/// Where one subscribes, as a WebSocket, to what comes from now on.
pub const SUBSCRIBE: &str = "/sub";

/// Whether nginx and the module are there.
pub fn is_installed() -> bool {
    module().is_some() && Path::new("/usr/sbin/nginx").exists()
}

fn module() -> Option<&'static Path> {
    let path = Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so");
    path.exists().then_some(path)
}

/// Starts it.
pub fn start(dir: &Path) -> Result<Server> {
    let port = free_port()?;
    let module = module().map(|m| m.display().to_string()).unwrap_or_default();
    let at = |name: &str| dir.join(name).display().to_string();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
        .collect();
    std::fs::write(
        dir.join("nginx.conf"),
        format!(
            "load_module {module};\n{user}\ndaemon off;\nmaster_process off;\nerror_log {} warn;\npid {};\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n access_log off;\n {temp} nchan_shared_memory_size 128M;\n server {{\n  listen 127.0.0.1:{port};\n\
             location = {PUBLISH} {{ nchan_publisher websocket; nchan_channel_id bench; nchan_message_buffer_length 1000; }}\n\
             location = {SUBSCRIBE} {{ nchan_subscriber websocket; nchan_channel_id bench; nchan_subscriber_first_message newest; }}\n\
             }}\n}}\n",
            at("error.log"),
            at("pid"),
        ),
    )?;
    let mut nginx = command(Path::new("/usr/sbin/nginx"), Core::Server);
    nginx.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir);
    let mut server = Server::start(nginx, port, dir.join("log"))?;
    server.wait_for_port()?;
    Ok(server)
}
