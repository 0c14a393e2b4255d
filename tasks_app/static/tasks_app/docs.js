"use strict";

const place = document.getElementById("docs");
const code = document.getElementById(location.hash.slice(1)); // where a problem's type leads
const codes = code?.closest("details");

if (codes) {
  codes.open = true;
  code.scrollIntoView();
}

SwaggerUIBundle({
  domNode: place,
  url: place.dataset.openapi,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  validatorUrl: null, // nothing is asked of another server
});
