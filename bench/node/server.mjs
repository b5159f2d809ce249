// The same work as wit's repos.get, by a server of the kind that wit 2.0 is: hono, tRPC, superjson,
// zod and pg in one process. Two queries for each call: whose token it is, and the repository.
// As wit does, it gives each request an id and security headers, and writes a line to its log.
//
//   DATABASE_URL=postgresql://... LOG=file node server.mjs     prints the port it listens on

import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { serve } from "@hono/node-server";
import { trpcServer } from "@hono/trpc-server";
import { initTRPC, TRPCError } from "@trpc/server";
import { Hono } from "hono";
import { logger } from "hono/logger";
import { requestId } from "hono/request-id";
import { secureHeaders } from "hono/secure-headers";
import pg from "pg";
import superjson from "superjson";
import { z } from "zod";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });

const TOKEN = `
  SELECT t.id, t.scopes, t.expires_at, u.id AS user_id, u.username, u.role, u.suspended
  FROM personal_access_tokens t JOIN "user" u ON u.id = t.user_id WHERE t.token_hash = $1`;

const REPOSITORY = `
  SELECT r.*, n.name AS owner_name, c.permission, m.role AS org_role
  FROM repositories r JOIN namespaces n ON n.owner_id = r.owner_id
  LEFT JOIN collaborators c ON c.repo_id = r.id AND c.user_id = $3
  LEFT JOIN org_members m ON m.org_id = r.owner_id AND m.user_id = $3
  WHERE n.name_key = $1 AND r.name_key = $2`;

async function caller(header) {
  if (!header?.startsWith("Bearer ")) return null;
  const hash = createHash("sha256").update(header.slice(7)).digest("hex");
  const { rows } = await pool.query({ name: "token", text: TOKEN, values: [hash] });
  const row = rows[0];
  if (!row || row.suspended || (row.expires_at && row.expires_at <= new Date())) return null;
  return { id: row.user_id, username: row.username };
}

async function repository(owner, name, user) {
  const values = [owner.toLowerCase(), name.toLowerCase(), user?.id ?? ""];
  const { rows } = await pool.query({ name: "repository", text: REPOSITORY, values });
  const row = rows[0];
  const mine = row && (row.owner_id === user?.id || row.permission || row.org_role);
  if (!row || (row.is_private && !mine)) return null;
  return row;
}

function camel(row) {
  const shown = {};
  for (const [key, value] of Object.entries(row)) {
    if (["permission", "org_role", "owner_name", "name_key"].includes(key)) continue;
    shown[key.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())] = value;
  }
  return shown;
}

const t = initTRPC.context().create({ transformer: superjson });
const input = z.object({ owner: z.string().min(1), repo: z.string().min(1) });

const router = t.router({
  repos: t.router({
    get: t.procedure.input(input).query(async ({ ctx, input }) => {
      const row = await repository(input.owner, input.repo, ctx.user);
      if (!row) throw new TRPCError({ code: "NOT_FOUND", message: "Repository not found" });
      const owner = { id: row.owner_id, name: row.owner_name, type: row.owner_type };
      return { repo: camel(row), owner };
    }),
  }),
});

const log = createWriteStream(process.env.LOG);

const app = new Hono();
app.use(requestId(), secureHeaders(), logger((line) => log.write(`${line}\n`)));
app.get("/health", (c) => c.json({ status: "ok" }));
app.use(
  "/trpc/*",
  trpcServer({
    router,
    createContext: async (_options, c) => ({ user: await caller(c.req.header("authorization")) }),
  }),
);
app.get("/api/v1/repos/:owner/:repo", async (c) => {
  const user = await caller(c.req.header("authorization"));
  const row = await repository(c.req.param("owner"), c.req.param("repo"), user);
  if (!row) return c.json({ message: "Not Found" }, 404);
  const full = `${row.owner_name}/${row.name}`;
  return c.json({
    id: row.id,
    name: row.name,
    full_name: full,
    owner: { id: row.owner_id, login: row.owner_name, type: row.owner_type },
    private: row.is_private,
    description: row.description,
    fork: row.is_fork,
    created_at: row.created_at,
    updated_at: row.updated_at,
    pushed_at: row.pushed_at,
    stargazers_count: row.stars_count,
    watchers_count: row.watchers_count,
    forks_count: row.forks_count,
    open_issues_count: row.open_issues_count,
    default_branch: row.default_branch,
    visibility: row.is_private ? "private" : "public",
    html_url: `/${full}`,
    url: `/api/v1/repos/${full}`,
  });
});

serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }, (info) => console.log(info.port));
