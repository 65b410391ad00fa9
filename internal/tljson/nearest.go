package tljson

import "strings"

// longestName is how much of a wrong name is compared.
const longestName = 64

// unlike is how far a wrong name is from a method's: the least edits from one to the
// other, where a namespace that is wrong or absent counts no more than a few.
func unlike(wrong, method string) int {
	wrong, method = fold(wrong), fold(method)
	space, name, _ := strings.Cut(method, ".")
	wrongSpace, wrongName, ok := strings.Cut(wrong, ".")
	if !ok { // no dot: no namespace, or run together with the name
		return min(edits(wrong, name)+1, edits(wrong, space+name)+1)
	}
	const otherSpace = 3
	return edits(wrongName, name) + min(edits(wrongSpace, space), otherSpace)
}

func fold(name string) string {
	return strings.ToLower(cut(strings.Trim(name, " \t\r\n./\"'`")))
}

func cut(name string) string {
	if r := []rune(name[:min(len(name), 4*longestName)]); len(r) > longestName {
		return string(r[:longestName])
	}
	return name
}

// edits is the number of letters put in, left out, replaced, or swapped with their
// neighbour, that make b of a: the distance of Damerau and Levenshtein, without edits
// inside a swap.
func edits(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}
