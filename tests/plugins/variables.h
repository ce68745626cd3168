/* What plug-ins are told: `name=value` each, with a null behind the last. */

#include <string.h>

static const char *value_of(const char *name, const char *envp[])
{
    size_t length = strlen(name);
    for (; *envp; ++envp) {
        if (!strncmp(*envp, name, length) && (*envp)[length] == '=') {
            return *envp + length + 1;
        }
    }
    return "";
}
