"use client";

import Link from "next/link";
import { useParams } from "next/navigation";
import { Button } from "#ui/button.tsx";

/** A link to the app's overview. Takes the app from the address, because not-found pages get no props. */
export function ToOverview() {
  const { appId } = useParams<{ appId: string }>();
  return (
    <Button asChild>
      <Link href={`/dashboard/${appId}`}>Overview</Link>
    </Button>
  );
}
