/* A plug-in that is called while clients come in. It writes into the file of its first argument what it was called for,
 * refuses the certificate of bob, and carol when all else is done. */

#include <stdio.h>
#include <string.h>

#include <openvpn-plugin.h>

#include "variables.h"

static const char *file;

OPENVPN_EXPORT int openvpn_plugin_min_version_required_v1(void)
{
    return 3;
}

OPENVPN_EXPORT int openvpn_plugin_open_v3(const int version,
                                          struct openvpn_plugin_args_open_in const *in,
                                          struct openvpn_plugin_args_open_return *out)
{
    static int handle;
    (void)version;
    file = strdup(in->argv[1]);
    out->type_mask = OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_TLS_VERIFY)
                     | OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_TLS_FINAL)
                     | OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_IPCHANGE);
    out->handle = (openvpn_plugin_handle_t)&handle;
    return OPENVPN_PLUGIN_FUNC_SUCCESS;
}

OPENVPN_EXPORT int openvpn_plugin_func_v3(const int version,
                                          struct openvpn_plugin_args_func_in const *in,
                                          struct openvpn_plugin_args_func_return *out)
{
    const char *name = value_of("X509_0_CN", (const char **)in->envp);
    int refused = 0;
    FILE *log = fopen(file, "a");
    (void)version;
    (void)out;
    if (!log) {
        return OPENVPN_PLUGIN_FUNC_ERROR;
    }
    if (in->type == OPENVPN_PLUGIN_TLS_VERIFY) {
        const char *subject = in->argv[2];
        refused = !strcmp(in->argv[1], "0") && strstr(subject, "CN=bob");
        fprintf(log, "%s: verify %s %s\n", strncmp(subject, "CN=", 3) ? "nobody" : subject + 3, in->argv[1], subject);
    } else if (in->type == OPENVPN_PLUGIN_TLS_FINAL) {
        refused = !strcmp(name, "carol");
        fprintf(log, "%s: final\nmaterial %s\n", name,
                value_of("exported_keying_material", (const char **)in->envp));
    } else {
        fprintf(log, "%s: reached %s %s %s\n", name, in->argv[1], in->argv[2] ? in->argv[2] : "-",
                value_of("trusted_port", (const char **)in->envp));
    }
    fclose(log);
    return refused ? OPENVPN_PLUGIN_FUNC_ERROR : OPENVPN_PLUGIN_FUNC_SUCCESS;
}

OPENVPN_EXPORT void openvpn_plugin_close_v1(openvpn_plugin_handle_t handle)
{
    (void)handle;
}
