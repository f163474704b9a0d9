#!/usr/bin/env node
await (await import('./built.js')).run('starter.cjs')
