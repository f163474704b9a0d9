/** What the lazily loaded parts need of node and a snapshot of the heap can hold; loaded when one is made. It cannot hold node:net. */
import 'node:os'
import 'node:path'
import 'node:stream'
