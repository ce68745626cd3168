"""What programs from the Python package index find on a management socket and in a status file."""

import sys

sys.dont_write_bytecode = True
PROGRAM, SOCKET, STATUS = sys.argv[1:]


def monitor():
    """openvpn-monitor, as its page would collect it, and its button that ends a client."""
    import importlib.util

    root = importlib.util.find_spec("openvpn_monitor").submodule_search_locations[0]
    sys.path.append(root)
    from vpns.openvpn.data_collector import VPNDataCollector

    vpns = {"vpn": {"name": "vpn", "socket": SOCKET}}
    VPNDataCollector(vpns, None)
    vpn = vpns["vpn"]
    assert vpn["management_connection_successful"], vpn
    assert vpn["state"]["connected"] == "CONNECTED", vpn
    assert vpn["stats"]["nclients"] == 3, vpn
    names = sorted(session["username"] for session in vpn["sessions"].values())
    assert all(session["bytes_recv"] > 0 for session in vpn["sessions"].values()), vpn
    print("monitor:", *names)


def reader():
    """openvpn-status-reader, on the file."""
    import openvpn_status

    with open(STATUS) as file:
        status = openvpn_status.parse_status(file.read())
    names = sorted(str(client.common_name) for client in status.client_list.values())
    print("reader:", *names)


def api():
    """openvpn-management-api: what it asks, and a client that it ends."""
    from openvpn_management_api.vpn import VPN

    vpn = VPN(unix_socket=SOCKET)
    with vpn.connection():
        assert vpn.version == "2.6.14", vpn.version
        state, stats = vpn.get_state(), vpn.get_stats()
        print("api:", stats.client_count, state.state_name, state.local_virtual_v4_addr)
        answer = vpn.send_command("kill carol").strip()
        assert answer == "SUCCESS: common name 'carol' found, 1 client(s) killed", answer
        print("api: killed")


def azure():
    """openvpn-auth-azure-ad, which judges logins for good; its cloud is a class that knows one password."""
    import openvpn_auth_azure_ad.authenticator as azure

    class Cloud:
        def acquire_token_by_username_password(self, username, password, scopes):
            if (username, password) == ("anna", "sesame"):
                claims = {"preferred_username": "alice"}
                return {"access_token": "token", "id_token_claims": claims}
            return {"error_description": "AADSTS50126: wrong name or password"}

        def acquire_token_by_refresh_token(self, token, scopes):
            return None

    azure.AADAuthenticator(
        app=Cloud(),
        graph_endpoint="",
        authenticators="username_password",
        openvpn_identity_key="common_name",
        verify_openvpn_client=True,
        verify_openvpn_client_id_token_claim="preferred_username",
        auth_token=True,
        auth_token_lifetime=600,
        remember_user=False,
        threads=2,
        socket=SOCKET,
        release_hold=True,
    ).run()


{"monitor": monitor, "reader": reader, "api": api, "azure": azure}[PROGRAM]()
