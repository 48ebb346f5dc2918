"use client";

import { useRouter } from "next/navigation";
import { useRef, useState } from "react";
import { exactly } from "#money";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { AppTile } from "#ui/app-tile.tsx";
import { Badge } from "#ui/badge.tsx";
import { Button } from "#ui/button.tsx";
import { Card } from "#ui/card.tsx";
import { classes } from "#ui/classes.ts";
import { FormError } from "#ui/field.tsx";
import { Menu, MenuItem } from "#ui/menu.tsx";
import { Money } from "#ui/money.tsx";
import { Time } from "#ui/time.tsx";
import { DisconnectDialog, LimitDialog, ModelsDialog } from "./link-dialogs.tsx";

export type Link = Answers["wallet"]["connectedApps"][number];

/** One link with an app that may spend, and everything that the user can change about it. */
export function ConnectedApp({ link }: { link: Link }) {
  const router = useRouter();
  const [open, setOpen] = useState<"limit" | "models" | "disconnect" | null>(null);
  const done = { onSuccess: () => router.refresh() };
  const pause = trpc.wallet.pause.useMutation(done);
  const resume = trpc.wallet.resume.useMutation(done);
  const failure = failureOf(pause.error ?? resume.error);
  const busy = pause.isPending || resume.isPending;
  const { name } = link.app;
  const paused = link.pausedAt !== null;
  // Several links with one app are told apart by their external ids.
  const label = link.connections > 1 ? `${name}, ${link.externalUserId}` : name;
  const menu = useRef<HTMLButtonElement>(null);
  const dialog = { link, onClose: () => setOpen(null), returnFocusTo: menu };
  const host = link.app.siteUrl === null ? undefined : URL.parse(link.app.siteUrl)?.host;
  return (
    <Card className="p-4 sm:p-5" aria-label={label}>
      <div className="flex items-start gap-4">
        <AppTile name={name} logoUrl={link.app.logoUrl} />
        <div className="min-w-0 flex-1">
          <h3 className="flex flex-wrap items-center gap-x-2 font-medium">
            <span className="line-clamp-2 [overflow-wrap:anywhere]">{name}</span>
            {paused && <Badge tone="warning">Paused</Badge>}
          </h3>
          {host && link.app.siteUrl !== null && (
            <p className="truncate text-sm leading-5 text-soft">
              <a href={link.app.siteUrl} className="underline-offset-4 hover:underline" rel="noreferrer">
                {host}
              </a>
            </p>
          )}
        </div>
        <div className="shrink-0 text-right text-sm leading-5">
          <Money credits={link.spent} className="block text-base font-semibold" />
          <span className="text-soft">
            {link.limit === null ? (
              "this month, no limit"
            ) : (
              <>
                of <Money credits={link.limit} /> this month
              </>
            )}
          </span>
        </div>
      </div>
      {link.limit !== null && <LimitBar spent={link.spent} limit={link.limit} />}
      {link.connections > 1 && (
        <p className="mt-3 text-sm leading-5 text-soft">
          One of {link.connections} connections with this app, as{" "}
          <bdi className="font-medium text-ink [overflow-wrap:anywhere]">{link.externalUserId}</bdi>. Limit and models are the same for all,
          and what is spent counts together. Pause or disconnect each by itself.
        </p>
      )}
      <div className="mt-4 flex flex-wrap items-center justify-between gap-x-4 gap-y-3">
        <p className="min-w-0 text-sm leading-5 text-soft">
          {modelsInWords(link.allowedModels)}
          {" · "}
          {link.lastUsedAt === null ? (
            <>
              connected <Time at={link.linkedAt} dateOnly />
            </>
          ) : (
            <>
              last used <Time at={link.lastUsedAt} />
            </>
          )}
        </p>
        <div className="ml-auto flex gap-2">
          {/* One button for both, so that it keeps the focus. */}
          <Button
            size="small"
            unavailable={busy}
            onClick={() => (paused ? resume : pause).mutate({ linkId: link.id })}
            aria-label={`${paused ? "Resume" : "Pause"} ${label}`}
          >
            {paused ? "Resume" : "Pause"}
          </Button>
          <Menu name="Change" label={`Change ${label}`} buttonRef={menu}>
            <MenuItem onSelect={() => setOpen("limit")}>Monthly limit</MenuItem>
            <MenuItem onSelect={() => setOpen("models")}>Models</MenuItem>
            <MenuItem danger onSelect={() => setOpen("disconnect")}>
              Disconnect
            </MenuItem>
          </Menu>
        </div>
      </div>
      {failure.message !== null && (
        <div className="mt-3">
          <FormError>{failure.message}</FormError>
        </div>
      )}
      {open === "limit" && <LimitDialog {...dialog} />}
      {open === "models" && <ModelsDialog {...dialog} />}
      {open === "disconnect" && <DisconnectDialog {...dialog} />}
    </Card>
  );
}

function modelsInWords(models: string[]): string {
  if (models.length === 0) return "Any model";
  return models.length === 1 ? `Only ${models[0]}` : `${models.length} models`;
}

/** Draws the numbers beside it. */
function LimitBar({ spent, limit }: { spent: bigint; limit: bigint }) {
  const percent = limit === 0n ? 100 : Math.min(100, Number((spent * 100n) / limit));
  return (
    <div aria-hidden="true" title={`${exactly(spent)} of ${exactly(limit)}`} className="mt-4 h-1.5 overflow-hidden rounded-full bg-sunken">
      <div
        className={classes("h-full rounded-full bg-accent", percent >= 100 && "bg-warning")}
        style={{ width: `${spent > 0n || limit === 0n ? Math.max(percent, 1) : 0}%` }}
      />
    </div>
  );
}
