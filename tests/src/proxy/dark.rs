//! Sockets that receive nothing: a filter drops every packet before TCP sees it.

use std::os::fd::AsFd;

use socket2::{SockFilter, SockRef};

/// `BPF_RET | BPF_K` of classic BPF with 0: keep nothing of the packet.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// Lets a socket receive nothing, or everything again.
pub(super) fn set<S: AsFd>(socket: &S, dark: bool) {
    let socket = SockRef::from(socket);
    if dark {
        socket.attach_filter(&DROP_ALL).expect("a socket of ours takes a filter");
    } else {
        // Without a filter there is nothing to detach, which is an error to the kernel.
        drop(socket.detach_filter());
    }
}
