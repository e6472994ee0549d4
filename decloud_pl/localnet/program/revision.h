// Which revision of the protocol a build is: 10 for v1.0, 11 for v1.1, 12 for v1.2 (-DREVISION=...). The accounts are the
// same in all of them, so a running program can be replaced by a later one.
#pragma once
#ifndef REVISION
#error "Compile with -DREVISION=10, 11 or 12, as build.py does."
#endif

#define HAS_TREASURY (REVISION >= 11)
#define HAS_ABORT (REVISION >= 12)
