/* A plug-in that does what its first argument says, and says what it sees. INTERFACE is the version of
 * the interface that it is built for. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openvpn-plugin.h>

#include "variables.h"

#ifndef ALL
#define ALL (OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_AUTH_USER_PASS_VERIFY) \
             | OPENVPN_PLUGIN_MASK(OPENVPN_PLUGIN_CLIENT_CONNECT_V2))
#endif

static const char **opened_with;
static int clients;

static void act(const char *what)
{
    if (!strcmp(what, "crash")) {
        abort();
    } else if (!strcmp(what, "leave")) {
        exit(0);
    } else if (!strcmp(what, "hang")) {
        for (;;) {
            pause();
        }
    }
}

static int verdict(const char *envp[])
{
    const char *password = value_of("password", envp);
    act(password);
    if (!strcmp(password, "later")) {
        return OPENVPN_PLUGIN_FUNC_DEFERRED;
    }
    return strcmp(password, "sesame") ? OPENVPN_PLUGIN_FUNC_ERROR : OPENVPN_PLUGIN_FUNC_SUCCESS;
}

#if INTERFACE > 1
static void give_back(struct openvpn_plugin_string_list **list, const char *name, const char *value)
{
    struct openvpn_plugin_string_list *item = calloc(1, sizeof *item);
    item->name = strdup(name);
    item->value = strdup(value);
    item->next = *list;
    *list = item;
}

static int answer(int type, const char *argv[], const char *envp[], void *context,
                  struct openvpn_plugin_string_list **list)
{
    if (type == OPENVPN_PLUGIN_CLIENT_CONNECT_V2) {
        char seen[256];
        snprintf(seen, sizeof seen, "%s %s %s %d", opened_with[1], argv[1], value_of("username", envp),
                 context ? ++*(int *)context : -1);
        give_back(list, "config", seen);
        return OPENVPN_PLUGIN_FUNC_SUCCESS;
    }
    return verdict(envp);
}
#endif

#if INTERFACE == 1

OPENVPN_EXPORT openvpn_plugin_handle_t
openvpn_plugin_open_v1(unsigned int *type_mask, const char *argv[], const char *envp[])
{
    act(argv[1]);
    opened_with = argv;
    *type_mask = ALL;
    return &opened_with;
}

OPENVPN_EXPORT int
openvpn_plugin_func_v1(openvpn_plugin_handle_t handle, const int type, const char *argv[],
                       const char *envp[])
{
    return verdict(envp);
}

#elif INTERFACE == 2

OPENVPN_EXPORT openvpn_plugin_handle_t
openvpn_plugin_open_v2(unsigned int *type_mask, const char *argv[], const char *envp[],
                       struct openvpn_plugin_string_list **return_list)
{
    act(argv[1]);
    opened_with = argv;
    *type_mask = ALL;
    return &opened_with;
}

OPENVPN_EXPORT int
openvpn_plugin_func_v2(openvpn_plugin_handle_t handle, const int type, const char *argv[],
                       const char *envp[], void *context,
                       struct openvpn_plugin_string_list **return_list)
{
    return answer(type, argv, envp, context, return_list);
}

#else

static struct openvpn_plugin_callbacks *callbacks;

OPENVPN_EXPORT int
openvpn_plugin_open_v3(const int version, struct openvpn_plugin_args_open_in const *args,
                       struct openvpn_plugin_args_open_return *ret)
{
    char *text = NULL;
    char bytes[16];

    callbacks = args->callbacks;
    act(args->argv[1]);
    if (!strcmp(args->argv[1], "refuse")) {
        callbacks->plugin_log(PLOG_ERR, "probe", "refused with %d and '%s'", 42, "words");
        return OPENVPN_PLUGIN_FUNC_ERROR;
    }
    opened_with = (const char **)args->argv;
    ret->type_mask = ALL;
    ret->handle = &opened_with;
    int length = callbacks->plugin_base64_encode("ringway", 7, &text);
    int back = callbacks->plugin_base64_decode(text, bytes, sizeof bytes);
    int none = callbacks->plugin_base64_decode("no base64!", bytes, sizeof bytes);
    callbacks->plugin_log(PLOG_NOTE, "probe", "%s %d %d %.*s %d %s %s %d", text, length, back, back,
                          bytes, none, value_of("verb", (const char **)args->envp),
                          args->ovpn_version, version);
    callbacks->plugin_secure_memzero(bytes, sizeof bytes);
    free(text);
    return OPENVPN_PLUGIN_FUNC_SUCCESS;
}

OPENVPN_EXPORT int
openvpn_plugin_func_v3(const int version, struct openvpn_plugin_args_func_in const *args,
                       struct openvpn_plugin_args_func_return *ret)
{
    return answer(args->type, (const char **)args->argv, (const char **)args->envp,
                  args->per_client_context, ret->return_list);
}

OPENVPN_EXPORT int openvpn_plugin_min_version_required_v1(void)
{
    return NEEDED;
}

#endif

OPENVPN_EXPORT void *openvpn_plugin_client_constructor_v1(openvpn_plugin_handle_t handle)
{
    ++clients;
    return calloc(1, sizeof(int));
}

OPENVPN_EXPORT void openvpn_plugin_client_destructor_v1(openvpn_plugin_handle_t handle, void *context)
{
    --clients;
    free(context);
}

OPENVPN_EXPORT void openvpn_plugin_close_v1(openvpn_plugin_handle_t handle)
{
    const char *file = opened_with[2];
    FILE *out = file ? fopen(file, "w") : NULL;
    if (out) {
        fprintf(out, "closed with %d clients\n", clients);
        fclose(out);
    }
}
