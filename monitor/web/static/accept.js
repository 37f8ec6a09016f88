// A change that is meant: what a stream shows now becomes what it is compared with.

import { setText } from "./tile.js";

// Of a stream that is as it usually is there is nothing to accept; what was answered stays until the dialog is opened anew.
export function showAccepting(element, state) {
  const drop = Math.round(state?.drop ?? 0);
  const button = element.querySelector("button");
  button.hidden = drop < 1;
  setText(button, `Accept the present level (${drop} below its usual one)`);
  element.hidden = button.hidden && !element.querySelector("span").textContent;
}

// Asks the monitor; what to tell the operator.
export async function acceptLevel(stream) {
  try {
    const answer = await fetch(`/api/streams/${encodeURIComponent(stream)}/accept`, { method: "POST" });
    const said = await answer.json();
    if (!answer.ok) return `Not accepted: ${said.error}.`;
    return `Accepted: its usual score is ${said.baseline.toFixed(1)} now; a quality alert clears by its own time.`;
  } catch {
    return "Not accepted: the monitor does not answer.";
  }
}
