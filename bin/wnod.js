#!/usr/bin/env node
await (await import('./built.js')).run('wnod.js')
