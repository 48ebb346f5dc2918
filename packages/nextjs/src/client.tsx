"use client";

import type { CreditPackage } from "@usequota/core";
import { createContext, type ReactNode, useCallback, useContext, useEffect, useId, useMemo, useRef, useState } from "react";
import { browserPath } from "./base-path.ts";
import type { QuotaUser } from "./config.ts";
import type { QuotaStatus } from "./endpoints.ts";
import { formatCredits, formatCreditsExactly } from "./money.ts";

export { formatCredits, formatCreditsExactly };

/** Why a request could not be paid: the wallet is empty, or the person's own limit for this app is used up. */
export type QuotaShortage = "insufficient_credits" | "spending_limit_reached";

/** What went wrong, in a sentence for the person. */
export interface QuotaProblem {
  code: string;
  message: string;
}

/** A credit package on sale. */
export type QuotaPackage = CreditPackage;

/** How buying credits ended: `processing` until the payment has arrived, which some ways of paying take their time for. */
export type QuotaPurchase = "paid" | "processing" | "cancelled";

/** What `useQuota` gives. */
export interface QuotaState {
  /** `loading` until the first answer; `error` when there is none. */
  status: "loading" | "disconnected" | "connected" | "error";
  /** The person and their wallet; null unless connected. */
  user: QuotaUser | null;
  /** false when nobody is signed in to the app itself. */
  signedIn: boolean;
  /** What went wrong last, also on the way back from Quota; null when all is well. */
  problem: QuotaProblem | null;
  /** Why the last request could not be paid; null when it could. */
  shortage: QuotaShortage | null;
  /** How buying credits ended, for who just came back from it; else null. */
  purchase: QuotaPurchase | null;
  /** Where the person finds their wallet at Quota. */
  walletUrl: string | null;
  /** Asks again, such as after a request that was billed. */
  refresh(): Promise<void>;
  /** Sends the person to Quota to connect their wallet, and back to `returnTo`, or to this page. */
  connect(returnTo?: string): void;
  /** Ends the connection, in every browser. */
  disconnect(): Promise<void>;
  /** Forgets the person in this browser. */
  logout(): Promise<void>;
  /** What can be bought. */
  packages(): Promise<QuotaPackage[]>;
  /** Sends the person to buy a package, and back to `returnTo`, or to this page. */
  buy(packageId: string, returnTo?: string): Promise<void>;
  /** Tells the components the code of an error that a request of yours got, so that they can show what to do. Codes that are not about money change nothing; null says that a request went well. */
  report(code: string | null): void;
  /** Shows a balance that an answer's `quota.balance_after` told, without asking. */
  setBalance(credits: number): void;
}

const Context = createContext<QuotaState | null>(null);

/** What surrounds the components. */
export interface QuotaProviderProps {
  children: ReactNode;
  /** Where the endpoints are in your app; Next's own `basePath` comes before it by itself. `/api/quota`. */
  basePath?: string;
  /** What `getQuotaUser()` gave on the server, so that the first paint is right. null: nobody is connected. */
  initialUser?: QuotaUser | null;
}

const PAYMENT_EVERY_MS = 3_000;

const PROBLEMS: Record<string, string> = {
  access_denied: "You did not connect your wallet. Nothing was shared.",
  invalid_state: "This attempt is over, or began in another browser. Try again.",
  user_changed: "You signed in as somebody else on the way. Try again.",
  temporarily_unavailable: "Quota cannot be reached. Try again in a moment.",
};

/** Knows whether a wallet is connected, for the components and `useQuota` within. */
export function QuotaProvider({ children, basePath = "/api/quota", initialUser }: QuotaProviderProps): ReactNode {
  const endpoints = browserPath(basePath);
  const [status, setStatus] = useState<QuotaState["status"]>(
    initialUser === undefined ? "loading" : initialUser ? "connected" : "disconnected",
  );
  const [user, setUser] = useState<QuotaUser | null>(initialUser ?? null);
  const [signedIn, setSignedIn] = useState(true);
  const [walletUrl, setWalletUrl] = useState<string | null>(null);
  const [problem, setProblem] = useState<QuotaProblem | null>(null);
  const [shortage, setShortage] = useState<QuotaShortage | null>(null);
  const [purchase, setPurchase] = useState<QuotaPurchase | null>(null);
  const asked = useRef(0);

  const refresh = useCallback(async () => {
    const turn = ++asked.current;
    try {
      const answer = await request<QuotaStatus>(`${endpoints}/status`);
      // An answer that was overtaken by a newer question says what was.
      if (turn !== asked.current) return;
      setUser(answer.user);
      setSignedIn(answer.signedIn);
      setWalletUrl(answer.walletUrl);
      setStatus(answer.connected ? "connected" : "disconnected");
      setProblem((before) => (before?.code === "status" ? null : before));
    } catch (error) {
      if (turn !== asked.current) return;
      setStatus((before) => (before === "loading" ? "error" : before));
      setProblem({ code: "status", message: problemOf(error).message });
    }
  }, [endpoints]);

  useEffect(() => {
    const url = new URL(window.location.href);
    const code = url.searchParams.get("quota_error");
    if (code !== null) {
      setProblem({ code, message: PROBLEMS[code] ?? "The wallet could not be connected. Try again." });
    }
    const ended = url.searchParams.get("quota_checkout");
    if (ended === "paid" || ended === "processing" || ended === "cancelled") setPurchase(ended);
    if (code !== null || ended !== null) {
      url.searchParams.delete("quota_error");
      url.searchParams.delete("quota_checkout");
      window.history.replaceState(window.history.state, "", url);
    }
    void refresh();
    // Whoever comes back from another tab may have topped up there, or disconnected.
    const back = () => {
      if (document.visibilityState === "visible") void refresh();
    };
    document.addEventListener("visibilitychange", back);
    return () => document.removeEventListener("visibilitychange", back);
  }, [refresh]);

  // A payment that is under way arrives by itself; the balance that grew says that it did.
  const balance = user?.balance;
  const balanceBefore = useRef<number | undefined>(undefined);
  useEffect(() => {
    if (purchase !== "processing" || balance === undefined) return;
    balanceBefore.current ??= balance;
    if (balance > balanceBefore.current) return setPurchase("paid");
    const timer = setInterval(() => void refresh(), PAYMENT_EVERY_MS);
    return () => clearInterval(timer);
  }, [purchase, balance, refresh]);

  const leave = useCallback(
    async (endpoint: "disconnect" | "logout") => {
      setProblem(null);
      try {
        await request(`${endpoints}/${endpoint}`, {});
        asked.current++;
        setUser(null);
        setShortage(null);
        setStatus("disconnected");
      } catch (error) {
        setProblem(problemOf(error));
      }
    },
    [endpoints],
  );

  const state = useMemo<QuotaState>(
    () => ({
      status,
      user,
      signedIn,
      problem,
      shortage,
      purchase,
      walletUrl,
      refresh,
      connect(returnTo) {
        window.location.assign(
          `${endpoints}/authorize?return_to=${encodeURIComponent(returnTo === undefined ? here() : browserPath(returnTo))}`,
        );
      },
      disconnect: () => leave("disconnect"),
      logout: () => leave("logout"),
      packages: async () => (await request<{ packages: QuotaPackage[] }>(`${endpoints}/packages`)).packages,
      async buy(packageId, returnTo) {
        const { url } = await request<{ url: string }>(`${endpoints}/checkout`, {
          package_id: packageId,
          return_to: returnTo === undefined ? here() : browserPath(returnTo),
        });
        if (!/^https?:$/.test(new URL(url).protocol)) throw new Error("This is no address of a page.");
        window.location.assign(url);
      },
      report(code) {
        if (code === null) setShortage(null);
        else if (code === "insufficient_credits" || code === "spending_limit_reached") setShortage(code);
        else if (code === "not_found" || code === "not_connected") void refresh();
      },
      setBalance(credits) {
        asked.current++;
        setUser((before) => before && { ...before, balance: credits });
      },
    }),
    [status, user, signedIn, problem, shortage, purchase, walletUrl, refresh, leave, endpoints],
  );
  return <Context.Provider value={state}>{children}</Context.Provider>;
}

/** The person's wallet, and what can be done with it. Throws outside of `QuotaProvider`. */
export function useQuota(): QuotaState {
  const state = useContext(Context);
  if (state === null) throw new Error("useQuota works within <QuotaProvider>.");
  return state;
}

/** How the button looks and where it leads. */
export interface QuotaConnectButtonProps {
  className?: string;
  /** What the button says; "Connect Wallet". */
  children?: ReactNode;
  /** Where the person ends, a path of your app as in `<Link>`. This page. */
  returnTo?: string;
}

/** Connects a wallet; when one is connected, says whose it is and lets the person disconnect it, asking once. */
export function QuotaConnectButton({ className, children = "Connect Wallet", returnTo }: QuotaConnectButtonProps): ReactNode {
  const quota = useQuota();
  const [leaving, setLeaving] = useState<"no" | "asking" | "now">("no");
  const [going, setGoing] = useState(false);
  const asking = useRef<HTMLButtonElement>(null);
  const disconnect = useRef<HTMLButtonElement>(null);
  const asked = leaving !== "no";
  const wasAsked = useRef(false);

  // The button that had the focus is gone; its successor gets it.
  useEffect(() => {
    if (asked) asking.current?.focus();
    else if (wasAsked.current) disconnect.current?.focus();
    wasAsked.current = asked;
  }, [asked]);
  useEffect(() => {
    // A page that the browser kept from before leaving for Quota.
    const back = () => setGoing(false);
    window.addEventListener("pageshow", back);
    return () => window.removeEventListener("pageshow", back);
  }, []);

  if (quota.status === "connected" && quota.user) {
    return (
      <div className={classes("quota-connect", className)} data-quota-state="connected">
        {asked ? (
          // biome-ignore lint/a11y/useSemanticElements: a fieldset would bring a frame and a legend
          <span role="group" aria-label="Disconnect your wallet?" className="quota-connect-ask">
            <span className="quota-text" aria-hidden="true">
              Disconnect?
            </span>
            <button
              ref={asking}
              type="button"
              className="quota-button quota-button-danger"
              aria-disabled={leaving === "now"}
              onClick={async () => {
                if (leaving === "now") return;
                setLeaving("now");
                await quota.disconnect();
                setLeaving("no");
              }}
            >
              {leaving === "now" ? "Disconnecting…" : "Yes, disconnect"}
            </button>
            <button type="button" className="quota-button" onClick={() => setLeaving("no")}>
              Keep
            </button>
          </span>
        ) : (
          <>
            <span className="quota-text quota-connect-who" title={quota.user.email}>
              {quota.user.email}
            </span>
            <button ref={disconnect} type="button" className="quota-button" onClick={() => setLeaving("asking")}>
              Disconnect
            </button>
          </>
        )}
        <Problem />
      </div>
    );
  }
  const busy = quota.status === "loading" || going;
  return (
    <div className={classes("quota-connect", className)} data-quota-state={quota.status}>
      <button
        type="button"
        className="quota-button quota-button-primary"
        aria-disabled={busy}
        aria-busy={busy}
        onClick={() => {
          if (busy) return;
          setGoing(true);
          quota.connect(returnTo);
        }}
      >
        {going ? "Opening your wallet…" : children}
      </button>
      <Problem />
    </div>
  );
}

function Problem(): ReactNode {
  const { problem, refresh } = useQuota();
  return (
    <span role="alert" className="quota-problem">
      {problem?.message}
      {problem?.code === "status" && (
        <button type="button" className="quota-link" onClick={() => void refresh()}>
          Try again
        </button>
      )}
    </span>
  );
}

/** How the balance looks. */
export interface QuotaBalanceProps {
  className?: string;
  /** Below this many credits it is marked as low. 100,000, ten cents. */
  lowCredits?: number;
  /** Shows every credit, `$8.399954`, and not only whole cents. */
  exact?: boolean;
}

/** The balance in dollars, exact on hover; with a monthly limit, also how much of it is spent. Nothing while no wallet is connected. */
export function QuotaBalance({ className, lowCredits = 100_000, exact = false }: QuotaBalanceProps): ReactNode {
  const { status, user, shortage } = useQuota();
  if (status === "loading")
    return (
      <span className={classes("quota-balance", className)} data-quota-state="loading">
        <span className="quota-hidden">Loading your balance</span>
      </span>
    );
  if (status === "error")
    return <span className={classes("quota-balance", className)} data-quota-state="error" title="Your balance is not known right now" />;
  if (!user) return null;
  const state =
    shortage === "spending_limit_reached"
      ? "limited"
      : shortage !== null || user.balance === 0
        ? "empty"
        : user.balance < lowCredits
          ? "low"
          : "ok";
  return (
    <span className={classes("quota-balance", className)} data-quota-state={state}>
      <span className="quota-hidden">Wallet balance: </span>
      <span className="quota-amount" title={`Exactly ${formatCreditsExactly(user.balance)}`}>
        {exact ? formatCreditsExactly(user.balance) : formatCredits(user.balance)}
      </span>
      {user.limit !== undefined && (
        <span className="quota-limit" title={`Exactly ${formatCreditsExactly(user.spent ?? 0)} of ${formatCreditsExactly(user.limit)}`}>
          {" "}
          {formatCredits(user.spent ?? 0)} of {formatCredits(user.limit)} this month
        </span>
      )}
    </span>
  );
}

/** How buying looks and where it leads. */
export interface QuotaBuyCreditsProps {
  className?: string;
  /** Where the person ends after buying, a path of your app as in `<Link>`. This page. */
  returnTo?: string;
}

/**
 * What to do when credits run out: packages to buy, and when it is the person's own
 * limit for this app, where to raise it. Nothing while no wallet is connected.
 */
export function QuotaBuyCredits({ className, returnTo }: QuotaBuyCreditsProps): ReactNode {
  const quota = useQuota();
  const { status, shortage, walletUrl } = quota;
  const [offer, setOffer] = useState<QuotaPackage[] | "loading" | "failed">("loading");
  const [buying, setBuying] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const title = useId();
  const connected = status === "connected";
  const sells = connected && shortage !== "spending_limit_reached";
  const loadPackages = quota.packages;

  const load = useCallback(async () => {
    setOffer("loading");
    setOffer(await loadPackages().catch(() => "failed" as const));
  }, [loadPackages]);
  // The provider makes its functions anew when the balance changes; what is on sale stays.
  const loaded = useRef(false);
  useEffect(() => {
    if (!sells || loaded.current) return;
    loaded.current = true;
    void load();
  }, [sells, load]);
  useEffect(() => {
    const back = () => setBuying(null);
    window.addEventListener("pageshow", back);
    return () => window.removeEventListener("pageshow", back);
  }, []);

  if (!connected) return null;
  const wallet = walletUrl !== null && (
    <a className="quota-link" href={walletUrl} target="_blank" rel="noopener">
      Open your wallet<span className="quota-hidden"> (in a new tab)</span>
    </a>
  );
  return (
    <section className={classes("quota-buy", className)} aria-labelledby={title} data-quota-state={shortage ?? "ok"}>
      <h2 id={title} className="quota-buy-title">
        {shortage === "spending_limit_reached"
          ? "You reached your monthly limit for this app"
          : shortage === "insufficient_credits"
            ? "Your wallet is out of credits"
            : "Add credits"}
      </h2>
      {shortage === "spending_limit_reached" ? (
        <p className="quota-text">You set it yourself. You can raise it in your wallet, under Connected apps. {wallet}</p>
      ) : offer === "loading" ? (
        <p className="quota-text" role="status">
          Loading packages…
        </p>
      ) : offer === "failed" ? (
        <p className="quota-text" role="alert">
          The packages could not be loaded.{" "}
          <button type="button" className="quota-link" onClick={() => void load()}>
            Try again
          </button>{" "}
          {wallet}
        </p>
      ) : offer.length === 0 ? (
        <p className="quota-text">Nothing is on sale right now. {wallet}</p>
      ) : (
        <div className="quota-packages">
          {offer.map(({ id, credits }) => (
            <button
              key={id}
              type="button"
              className="quota-button"
              aria-disabled={buying !== null}
              aria-busy={buying === id}
              onClick={async () => {
                if (buying !== null) return;
                setBuying(id);
                setProblem(null);
                try {
                  await quota.buy(id, returnTo);
                } catch (error) {
                  setBuying(null);
                  setProblem(problemOf(error).message);
                }
              }}
            >
              {buying === id ? "Opening…" : `Add ${formatCredits(credits)}`}
            </button>
          ))}
        </div>
      )}
      <span role="status" className="quota-text">
        {quota.purchase === "processing" && "Your payment is under way. Your credits are here as soon as it arrives."}
        {quota.purchase === "paid" && shortage === null && "Thank you, your credits are here."}
        {quota.purchase === "cancelled" && "Nothing was bought."}
      </span>
      <span role="alert" className="quota-problem">
        {problem}
      </span>
    </section>
  );
}

class RequestError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** One request to the app's own endpoints; a body makes it a POST. */
async function request<T>(url: string, body?: object): Promise<T> {
  const response = await fetch(url, {
    method: body === undefined ? "GET" : "POST",
    cache: "no-store",
    ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  const answer = (await response.json().catch(() => null)) as (T & { error?: { code: string; message: string } }) | null;
  if (!response.ok || answer === null) {
    throw new RequestError(answer?.error?.code ?? "unknown", answer?.error?.message ?? "That did not work. Try again in a moment.");
  }
  return answer;
}

function problemOf(error: unknown): QuotaProblem {
  if (error instanceof RequestError) return { code: error.code, message: error.message };
  return { code: "unreachable", message: "There is no connection. Try again in a moment." };
}

function here(): string {
  return window.location.pathname + window.location.search;
}

function classes(own: string, given: string | undefined): string {
  return given === undefined ? own : `${own} ${given}`;
}
