// What a translated kernel includes.
#pragma once
#include "emu_async.h"
#include "emu_float.h"
#include "emu_memory.h"
#include "emu_mma.h"
