//! Routes of the server, traffic between clients, and what a tap bridge needs.

use super::client;
use super::values::{ipv4, number};
use crate::config::directive::{Directive, MANY, Refusal, Support};
use crate::config::draft::Draft;
use crate::config::lexer::Line;
use crate::config::settings::{Destination, RouteLine, RouteTarget, TunnelOption, Via};

pub(super) const ROWS: &[Directive] = &[
    Directive::served(
        "client-to-client",
        "",
        (0, 0),
        "hand packets between clients inside the server, past the kernel and its firewall",
        client_to_client,
    )
    .of_servers(),
    Directive::served(
        "route",
        "NETWORK [NETMASK [GATEWAY [METRIC]]]",
        (1, 4),
        "a route of this machine into the tunnel",
        route,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::served(
        "route-ipv6",
        "NETWORK/BITS [GATEWAY [METRIC]]",
        (1, 3),
        "an IPv6 route of this machine into the tunnel",
        route,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::served(
        "route-gateway",
        "ADDRESS",
        (1, 1),
        "gateway of `route` lines without their own",
        route_gateway,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::ignored(
        "route-ipv6-gateway",
        "ADDRESS",
        (1, 1),
        "gateway of `route-ipv6`",
        "a route into a tun device needs no gateway, and OpenVPN sets none either",
    ),
    Directive::served(
        "route-metric",
        "N",
        (1, 1),
        "metric of routes that have none of their own",
        route_metric,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::served(
        "route-table",
        "TABLE",
        (1, 1),
        "the table that routes stand in, but those of `redirect-gateway`; 0 for the main one",
        route_table,
    ),
    Directive::ignored(
        "route-delay",
        "[SECONDS [WINDOWS]]",
        (0, 2),
        "when routes are set",
        "they are set when the device is made; a client's, when the server has given it an address",
    ),
    Directive::served(
        "route-noexec",
        "",
        (0, 0),
        "leave routes to a script",
        route_noexec,
    )
    .on_client(Support::Served(client::route_noexec)),
    Directive::served(
        "block-ipv6",
        "",
        (0, 0),
        "answer IPv6 packets that they can't be sent: a server those of its clients, a client those into the \
         tunnel",
        block_ipv6,
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::later(
        "client-nat",
        "snat|dnat NETWORK NETMASK ALIAS",
        (4, 4),
        "translate addresses",
        "use nftables",
    ),
    Directive::later(
        "vlan-tagging",
        "",
        (0, 0),
        "VLANs of a tap device",
        "tap is not served; remove the line",
    )
    .of_servers(),
    Directive::later(
        "vlan-accept",
        "tagged|untagged|all",
        (1, 1),
        "VLANs of a tap device",
        "tap is not served; remove the line",
    )
    .of_servers(),
    Directive::later(
        "vlan-pvid",
        "ID",
        (1, 1),
        "VLANs of a tap device",
        "tap is not served; remove the line",
    )
    .of_servers(),
    Directive::ignored(
        "max-routes",
        "[N]",
        (0, 1),
        "bound of routes",
        "it is obsolete, and there is no bound",
    ),
    Directive::refused(
        "redirect-gateway",
        "[FLAG...]",
        (0, MANY),
        "send all traffic through the tunnel",
        "write `push \"redirect-gateway def1\"`: it is for clients",
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::refused(
        "redirect-private",
        "[FLAG...]",
        (0, MANY),
        "as `redirect-gateway`, without the default route",
        "write it as `push \"redirect-private\"`: it is for clients",
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::ignored(
        "dhcp-option",
        "TYPE [VALUE]",
        (1, 2),
        "name servers of a client",
        "write `push \"dhcp-option DNS ADDRESS\"`: it is for clients",
    )
    .on_client(Support::Served(client::tunnel)),
    Directive::ignored(
        "dns",
        "server|search-domains ...",
        (1, MANY),
        "name servers of a client",
        "write `push \"dns ...\"`: it is for clients",
    )
    .on_client(Support::Refused(
        "write `dhcp-option DNS ADDRESS` and `dhcp-option DOMAIN NAME`",
    )),
];

fn route_noexec(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.network.sets_routes = false;
    Ok(())
}

fn route(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let Some(TunnelOption::Route(route)) = client::option(draft, line)? else {
        return Err(Refusal::because("it is no route"));
    };
    let (word, why) = match route {
        RouteLine {
            target: RouteTarget::Known(Destination::Network(_)),
            via: Via::Tunnel | Via::Gateway(_),
            ..
        } => {
            draft.network.routes.push(route);
            return Ok(());
        }
        RouteLine {
            via: Via::Machine, ..
        } => ("net_gateway", "does not lead into the tunnel"),
        RouteLine {
            target: RouteTarget::TunnelGateway,
            ..
        } => ("vpn_gateway", "is in the tunnel already"),
        RouteLine { .. } => (
            "remote_host",
            "is a client's server, and this is one itself",
        ),
    };
    Err(Refusal::because(format!("`{word}` {why}")))
}

fn route_metric(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    if let Some(TunnelOption::RouteMetric(metric)) = client::option(draft, line)? {
        draft.network.route_metric = Some(metric);
    }
    Ok(())
}

fn route_table(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    let table: u32 = number(line, 0, 0..=u32::MAX)?;
    draft.network.route_table = (table > 0).then_some(table);
    Ok(())
}

fn route_gateway(draft: &mut Draft, line: &Line) -> Result<(), Refusal> {
    draft.network.route_gateway = Some(ipv4(line, 0)?);
    Ok(())
}

fn block_ipv6(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.network.block_ipv6 = true;
    Ok(())
}

fn client_to_client(draft: &mut Draft, _: &Line) -> Result<(), Refusal> {
    draft.network.client_to_client = true;
    Ok(())
}
