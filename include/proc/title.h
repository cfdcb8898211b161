/* What ps shows. */
#ifndef PENSTOCK_PROC_TITLE_H
#define PENSTOCK_PROC_TITLE_H
/* First thing in main: takes the memory of argv and environ (which is copied away) for titles. */
void title_init(int argc, char **argv);
/* "worker 0 gen 3" becomes "penstock: worker 0 gen 3". Before title_init: nothing happens. */
void title_set(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#endif
