document.onclick = ({ target: { dataset: d } }) => d?.copy && navigator.clipboard?.writeText(d.copy);
