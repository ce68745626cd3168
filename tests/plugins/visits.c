/* A plug-in that is called when clients come and go. It writes into the file of its first argument what it was
 * called for, and counts the calls of each client. */

#include <stdio.h>
#include <stdlib.h>
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
    out->type_mask = OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_CLIENT_CONNECT)
                     | OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_CLIENT_CONNECT_V2)
                     | OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_CLIENT_DISCONNECT)
                     | OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_LEARN_ADDRESS);
    out->handle = (openvpn_plugin_handle_t)&handle;
    return OPENVPN_PLUGIN_FUNC_SUCCESS;
}

OPENVPN_EXPORT void *openvpn_plugin_client_constructor_v1(openvpn_plugin_handle_t handle)
{
    (void)handle;
    return calloc(1, sizeof(int));
}

OPENVPN_EXPORT void openvpn_plugin_client_destructor_v1(openvpn_plugin_handle_t handle, void *context)
{
    (void)handle;
    free(context);
}

OPENVPN_EXPORT int openvpn_plugin_func_v3(const int version,
                                          struct openvpn_plugin_args_func_in const *in,
                                          struct openvpn_plugin_args_func_return *out)
{
    const char *name = value_of("common_name", (const char **)in->envp);
    int *calls = in->per_client_context;
    FILE *log = fopen(file, "a");
    (void)version;
    if (!log) {
        return OPENVPN_PLUGIN_FUNC_ERROR;
    }
    if (in->type == OPENVPN_PLUGIN_CLIENT_CONNECT) {
        FILE *lines = fopen(in->argv[1], "w");
        fprintf(log, "connect %s %d\n", name, ++*calls);
        fprintf(lines, "push \"route 10.79.1.0 255.255.255.0\"\n");
        fclose(lines);
    } else if (in->type == OPENVPN_PLUGIN_CLIENT_CONNECT_V2) {
        struct openvpn_plugin_string_list *item = calloc(1, sizeof *item);
        fprintf(log, "connect-v2 %s %d\n", name, ++*calls);
        item->name = strdup("config");
        item->value = strdup("push \"route 10.79.2.0 255.255.255.0\"");
        *out->return_list = item;
    } else if (in->type == OPENVPN_PLUGIN_CLIENT_DISCONNECT) {
        fprintf(log, "disconnect %s %d\n", name, ++*calls);
    } else {
        fprintf(log, "learn %s %s %s\n", in->argv[1], in->argv[2], in->argv[3] ? in->argv[3] : "-");
    }
    fclose(log);
    return OPENVPN_PLUGIN_FUNC_SUCCESS;
}

OPENVPN_EXPORT void openvpn_plugin_close_v1(openvpn_plugin_handle_t handle)
{
    (void)handle;
}
