/* The two functions of the plug-in interface that Rust can't define: those with a list of arguments
 * of any length. They make a line of it. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* In interface.rs: `error` is what the C library's last call had to say. */
void ringway_plugin_line(int flags, int error, const char *name, const char *text);

void ringway_plugin_vlog(int flags, const char *name, const char *format, va_list arguments)
{
    int error = errno;
    char text[1280];

    if (!format || !name || !*name) {
        return;
    }
    vsnprintf(text, sizeof text, format, arguments);
    ringway_plugin_line(flags, error, name, text);
}

void ringway_plugin_log(int flags, const char *name, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    ringway_plugin_vlog(flags, name, format, arguments);
    va_end(arguments);
}
