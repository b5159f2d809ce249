"""Door: tRPC, as @trpc/server 11 with superjson answers (contract, trpc-notes.md)."""
